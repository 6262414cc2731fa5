"""Reading changes nothing: no deadline, no number, no byte of the store, and nobody is woken."""

from pathlib import Path
from typing import Any

import trio
from attrs import asdict

from squire_gatherings import Ack, EndRules, Hall, Identity, open_hall
from squire_gatherings._admin.app import OPERATIONS
from squire_gatherings._hall.parts import observer_of, quotas_of
from tests.admin.port import Port, open_port
from tests.admin.watching import watching
from tests.support import Recorder

PATHS = [
    *(one.path for one in OPERATIONS if one.method == "GET" and one.name != "get_address"),
    "/api/v1/addresses?address=127.0.0.1",
    "/api/v1/gatherings?sort=deadline&order=descending&limit=1",
    "/api/v1/openapi.json",
    "/metrics",
    "/healthz",
    "/readyz",
    "/",
    "/nothing",
]
NAMES = ("busy", "held", "empty", "asleep", "unknown")


def wall() -> float:
    """Return the time of a wall clock that goes exactly as Trio's does.

    A gathering that is held by a real one has its deadline worked out anew at each look, and that
    is another number by a microsecond.
    """
    return trio.current_time() + 2**20


async def _fill(hall: Hall) -> list[Recorder]:
    """Open gatherings of several kinds. Nothing of it writes to the store."""
    connections = [Recorder() for _ in range(3)]
    busy = await hall.join("busy", connections[0], identity=Identity("alice"))
    await hall.join("busy", connections[1], identity=Identity("bob"))
    await hall.join("held", connections[2], identity=Identity("carol", expires_at=2e9))
    await busy.deliver(Ack(1))
    await hall.open("empty", EndRules(max_age=9000.0, warn_before=60.0, empty_timeout=8000.0))
    hall.hold("held", until=wall() + 1e6, by="somebody")
    await trio.testing.wait_all_tasks_blocked()
    return connections


def _state(hall: Hall, connections: list[Recorder], folder: Path) -> Any:
    """Return all that could have changed."""
    rooms = []
    for name, incarnation in hall._registry.living.items():
        room = incarnation.room
        deadline = room.deadline
        rooms.append(
            (
                name,
                id(incarnation),
                asdict(room.numbers()) | {"deadline": None},
                round(deadline.at, 3),
                round(deadline.next_at, 3),
                round(deadline.warn_at, 3),
                {rule: round(at, 3) for rule, at in deadline.ends()},
                deadline.moved,
                None if room.scope is None else round(room.scope.deadline, 3),
                room.inbox.put_in,
                room.inbox.taken,
                room.is_wanted,
                [
                    (one.window.due_at, one.window.give_up_at, one.waiting, one.identity)
                    for one in room.clients.values()
                ],
            )
        )
    quotas = quotas_of(hall)
    budget = quotas.budget
    return (
        rooms,
        asdict(observer_of(hall).tally, recurse=False)
        | {"committed": dict(observer_of(hall).tally.committed)},
        dict(quotas.refusals.counts),
        (budget.used, budget.outbound, budget.connections, quotas.users.total),
        [(list(one.received), list(one.closed)) for one in connections],
        # What readers of the file note in its shared memory is none of it.
        {file.name: file.read_bytes() for file in folder.glob("rooms*[!m]")},
    )


async def _read_everything(port: Port) -> None:
    for path in PATHS:
        for name in NAMES if "{gathering}" in path else NAMES[:1]:
            answer = await port.client.get(path.replace("{gathering}", name))
            assert answer.status_code in (200, 404), (path, answer.text)
            answer = await port.client.head(path.replace("{gathering}", name))
            assert answer.status_code in (200, 404), path
    async with watching(port) as viewer:
        for name in NAMES:
            assert (await viewer.ask(gathering=name, sort="rate"))["close"]["id"] == name


async def test_reading_changes_nothing(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/rooms.sqlite3"
    async with open_hall(store=store) as hall:
        for name in ("busy", "held", "asleep"):
            await hall.submit(name, [{"a": 1}, {"a": 2}])
    # What is retried by itself would change numbers, too.
    async with open_port(
        tmp_path, store=store, wall_clock=wall, retry_interval=1000, retry_limit=4000
    ) as port:
        connections = await _fill(port.hall)
        before = _state(port.hall, connections, tmp_path)
        await _read_everything(port)
        after = _state(port.hall, connections, tmp_path)
        for now, then in zip(after, before, strict=True):
            assert now == then


async def test_what_is_compared_shows_the_smallest_change(tmp_path: Path) -> None:
    async with open_port(tmp_path, wall_clock=wall, retry_interval=1000, retry_limit=4000) as port:
        await port.hall.submit("busy", [{"a": 1}, {"a": 2}])
        connections = await _fill(port.hall)
        for name in ("busy", "held", "empty"):
            before = _state(port.hall, connections, tmp_path)
            await port.hall.fetch(name)
            assert _state(port.hall, connections, tmp_path) != before


async def test_who_is_here_is_told_where_clients_may_be_shown(tmp_path: Path) -> None:
    async with open_port(tmp_path, presence=True) as port:
        await port.hall.join("room", Recorder(), identity=Identity("alice"), presence={})
        await port.hall.join("room", Recorder(), presence={})
        await port.hall.join("room", Recorder())
        said = await port.get("/api/v1/gatherings/room/explain")
        assert (said["clients"], said["here"]) == (3, {"users": 1, "anonymous": 1})
    async with open_port(tmp_path) as port:
        await port.hall.join("room", Recorder())
        assert (await port.get("/api/v1/gatherings/room/explain"))["here"] is None
