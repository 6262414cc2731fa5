"""A signal ends the server, even if clients or the store block it (the bound: docs/running.md)."""

import signal
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.cli.process import PATIENCE
from tests.forked import serving
from tests.server.raw import RawClient

GRACE = 1.0


def test_a_locked_database_and_a_silent_client_delay_no_exit(tmp_path: Path) -> None:
    file = tmp_path / "rooms.sqlite3"
    options = ["--store", f"sqlite:///{file}", "--close-grace", f"{GRACE:.0f}s"]
    with (
        serving(*options) as (process, url),
        RawClient(f"{url}/gatherings/a") as client,
        closing(sqlite3.connect(file, isolation_level=None)) as other,
    ):
        client.say(type="join")
        client.hear()
        other.execute("BEGIN IMMEDIATE")
        client.say(type="sync", id="s", base=0, ops=[{"n": 1}])
        assert client.hear()["code"] == "store_unavailable"
        process.send_signal(signal.SIGTERM)
        # The client answers neither the notice nor the close frame.
        assert client.hear()["reason"] == "shutdown"
        assert process.wait(timeout=PATIENCE) == 0
