"""A server that has run out of descriptors serves its clients, logs that once, and goes on."""

import contextlib
import resource
import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

from tests.edges.wire import Wire
from tests.forked import serving

FEW = 48
"""The number of descriptors that the server may have."""

CALLERS = 100


def test_descriptors_run_out_and_come_back(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/rooms.sqlite3"
    with serving("--store", store) as (process, url):
        with Wire(url) as innocent, contextlib.ExitStack() as stack:
            assert innocent.join("room")["type"] == "joined"
            # At its start the server raised its own limit to the allowed maximum.
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (FEW, FEW))
            address = urlsplit(url).hostname, urlsplit(url).port
            callers = [socket.create_connection(address, timeout=60) for _ in range(CALLERS)]
            for caller in callers:
                stack.enter_context(caller)
            for number in range(20):
                assert submitted(innocent, number) == [number + 1]
            late = stack.enter_context(Wire(url))
            # Nobody can get in before another client has gone.
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
    assert err.count("no connection can be accepted for now") == 1, err
    assert "Traceback" not in err


def submitted(wire: Wire, number: int) -> list[int]:
    """Submit; return the seqs in the answer."""
    wire.say(type="sync", id=f"s{number}", base=0, ops=[{"n": number}])
    while (message := wire.hear())["type"] != "synced":
        assert message["type"] == "forward"
    seqs: list[int] = message["seqs"]
    return seqs
