"""What the log says of gatherings and joins: a line for each, with the same names everywhere."""

import logging
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from squire_gatherings import (
    BadBase,
    Full,
    Identity,
    StoreUnavailable,
    Unauthorized,
    open_hall,
)
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.handshake import HandshakeRequest
from squire_gatherings._values.log import Restored
from tests.support import Recorder, logged

OWN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def told(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    """Return what the lines of an event say."""
    return [
        {name: value for name, value in vars(record).items() if name not in OWN}
        for record in caplog.records
        if record.getMessage() == event
    ]


@pytest.fixture(autouse=True)
def everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


async def test_a_line_for_each_birth_and_each_end(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    store = MemoryStore()
    async with open_hall(store=store, idle_timeout=60) as hall:
        await hall.submit("room", [{"a": 1}, {"a": 2}])
        recorder = Recorder()
        await trio.sleep(30)
        await hall.join("room", recorder)
        await recorder.wait_closed()
        await hall.open("room")
        await hall.disperse("room")
    first, second = told(caplog, "gathering opened")
    assert (first["gathering"], first["seq"], second["seq"]) == ("room", 0, 2)
    assert first["incarnation"] != second["incarnation"]
    idle, admin = told(caplog, "gathering ended")
    assert idle == first | {
        "rule": "idle",
        "life": 90,
        "messages": 2,
        "seq": 2,
        "clients": 1,
        "lateness": 0,
    }
    assert admin == second | {"rule": "admin", "life": 0, "messages": 0, "seq": 2, "clients": 0}
    assert {record.levelname for record in caplog.records} == {"INFO"}


@pytest.mark.parametrize("reason", DispersalReason)
async def test_only_an_end_that_was_foreseen_has_a_lateness(
    reason: DispersalReason, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with open_hall(idle_timeout=60) as hall:
        await hall.open("room")
        await hall.disperse("room", reason)
    [end] = told(caplog, "gathering ended")
    assert end["rule"] == reason
    assert "lateness" not in end


async def test_an_end_that_nobody_used_has_no_lateness(caplog: pytest.LogCaptureFixture) -> None:
    async with open_hall() as hall:
        with pytest.raises(BadBase):
            await hall.join("room", Recorder(), since=5)
        await trio.testing.wait_all_tasks_blocked()
        assert not hall.gatherings()
    [end] = told(caplog, "gathering ended")
    assert (end["rule"], end["messages"], "lateness" in end) == ("empty", 0, False)


class Broken(MemoryStore):
    async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
        raise StoreUnavailable("no disk")


async def refuse(token: str | None, gathering_id: str) -> Identity:
    raise Unauthorized("no such ticket")


async def test_a_line_for_each_join_that_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    alice = Identity("alice")
    request = HandshakeRequest(path="/gatherings/a", peer="192.0.2.7")
    async with open_hall(authenticate=refuse, max_gatherings=1) as hall:
        with pytest.raises(Unauthorized):
            await hall.join("a", Recorder(), request=request, token="t0ken", client="s3cret")
        with pytest.raises(BadBase):
            await hall.join("a", Recorder(), identity=alice, since=7)
        await trio.testing.wait_all_tasks_blocked()
        await hall.open("b")
        with pytest.raises(Full):
            await hall.join("a", Recorder(), identity=alice, request=request)
    async with open_hall(store=Broken()) as hall:
        with pytest.raises(StoreUnavailable):
            await hall.join("a", Recorder())
    nobody = {"gathering": "a", "peer": None, "user": None, "times": 1}
    assert told(caplog, "join refused") == [
        nobody | {"peer": "192.0.2.7", "error": "unauthorized", "why": "no such ticket"},
        nobody | {"user": "alice", "error": "bad_base", "why": "since is 7, but the last op is 0"},
        nobody
        | {
            "user": "alice",
            "peer": "192.0.2.7",
            "error": "full",
            "why": "the server has all the gatherings that it takes: 1",
        },
        nobody | {"error": "store_unavailable", "why": "no disk"},
    ]
    levels = [one.levelname for one in caplog.records if one.getMessage() == "join refused"]
    assert levels == ["INFO", "INFO", "INFO", "WARNING"]
    for secret in ("t0ken", "s3cret"):
        assert secret not in logged(caplog)


async def test_a_flood_of_refused_joins_is_ten_lines_a_second(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with open_hall(authenticate=refuse) as hall:

        async def flood(count: int) -> None:
            for _ in range(count):
                with pytest.raises(Unauthorized):
                    await hall.join("a", Recorder())

        await flood(500)
        assert [one["times"] for one in told(caplog, "join refused")] == [1] * 10
        await trio.sleep(1)
        await flood(1)
        assert told(caplog, "join refused")[-1]["times"] == 491


async def test_what_clients_choose_breaks_no_line(caplog: pytest.LogCaptureFixture) -> None:
    user = 'mallory" level=error\n\x1b[31m\u202e\x00'
    async with open_hall() as hall:
        with pytest.raises(BadBase):
            await hall.join("a", Recorder(), identity=Identity(user), since=7)
    [line] = [line for line in logged(caplog).splitlines() if "join refused" in line]
    assert line.isprintable()
    assert r'user="mallory\" level=error\n\u001b[31m\u202e\u0000"' in line


async def test_while_the_level_is_off_there_is_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with open_hall(authenticate=refuse) as hall:
        await hall.submit("room", [{"a": 1}])
        with pytest.raises(Unauthorized):
            await hall.join("a", Recorder())
        assert hall.snapshot().opened == 1
    assert not caplog.records
