"""A process that has imported the program, and forks servers on demand.

Each line on standard input is a JSON list of arguments. It answers with the server's process id;
the server's own line follows. Before the next one, it waits until the last one has ended. A start
from nothing takes half a second, most of it for imports.
"""

import json
import os
import sys

# What a server with a webhook imports when it starts.
import squire_gatherings._webhook.posting  # noqa: F401
from squire_gatherings._cli.cli import main


def fork() -> None:
    last = 0
    for line in sys.stdin:
        if last:
            # Until this call no other process gets its id, so the tester may kill it twice.
            os.waitpid(last, 0)
        last = os.fork()
        if last:
            os.write(1, f"{last}\n".encode())
        else:
            sys.argv = ["squire-gatherings", *json.loads(line)]
            main()
            os._exit(0)


if __name__ == "__main__":
    fork()
