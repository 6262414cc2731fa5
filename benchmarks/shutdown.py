"""How long a server takes to exit that has a locked database and a silent client.

The promise is `close_grace` + 1 s from the signal on (docs/running.md). The signal comes at
different phases of the server's own attempts to commit. Run by `python -m benchmarks.shutdown`;
exits with 1 if the promise was broken.
"""

import argparse
import signal
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from tests.cli.process import serving
from tests.server.raw import RawClient


def exit_time(grace: float, phase: float) -> float:
    """Return the seconds from SIGTERM, `phase` seconds after the lock was met, to the exit."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rooms.sqlite3"
        options = ["--store", f"sqlite:///{file}", "--close-grace", f"{grace * 1000:.0f}ms"]
        with (
            serving(*options) as (process, url),
            RawClient(f"{url}/gatherings/a") as client,
            closing(sqlite3.connect(file, isolation_level=None)) as other,
        ):
            client.say(type="join")
            client.hear()
            other.execute("BEGIN IMMEDIATE")
            client.say(type="sync", id="s", base=0, ops=[{"n": 1}])
            time.sleep(phase)
            start = time.perf_counter()
            process.send_signal(signal.SIGTERM)
            if process.wait(timeout=60) != 0:
                raise SystemExit(f"exit code {process.returncode}")
            return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phases", type=int, default=8, help="signals for each close_grace")
    options = parser.parse_args()
    kept = True
    for grace in (0.0, 0.5, 1.0, 2.0):
        phases = [number * 2.0 / options.phases for number in range(options.phases)]
        times = sorted(exit_time(grace, phase) for phase in phases)
        kept = kept and times[-1] <= grace + 1
        print(f"close_grace {grace:.1f} s: exit after {times[0]:.3f} to {times[-1]:.3f} s")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
