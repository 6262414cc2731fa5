"""A server that has no descriptors left: it serves those who are in, says so once, and goes on."""

import contextlib
import resource
import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

from tests.cli.process import serving
from tests.edges.wire import Wire

FEW = 48
"""How many descriptors the server may have."""

CALLERS = 100


def test_descriptors_run_out_and_come_back(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/rooms.sqlite3"
    with serving("--store", store) as (process, url):
        with Wire(url) as innocent, contextlib.ExitStack() as stack:
            assert innocent.join("room")["type"] == "joined"
            # Its own limit was raised to what was allowed when it started.
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (FEW, FEW))
            address = urlsplit(url).hostname, urlsplit(url).port
            callers = [socket.create_connection(address, timeout=60) for _ in range(CALLERS)]
            for caller in callers:
                stack.enter_context(caller)
            for number in range(20):
                assert submitted(innocent, number) == [number + 1]
            late = stack.enter_context(Wire(url))
            # Nobody can be let in before somebody has gone.
            for caller in callers:
                caller.close()
            assert late.join("room")["seq"] == 20
            with Wire(url) as another:
                assert another.join("another-room")["type"] == "joined"
            late.say(type="ack", seq=20)
            assert submitted(late, 20) == [21]
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert err.count("can't accept connections for now") == 1, err
    assert "Traceback" not in err


def submitted(wire: Wire, number: int) -> list[int]:
    """Submit; return the seqs that it is answered with."""
    wire.say(type="sync", id=f"s{number}", base=0, ops=[{"n": number}])
    while (message := wire.hear())["type"] != "synced":
        assert message["type"] == "forward"
    seqs: list[int] = message["seqs"]
    return seqs
