"""Clients of a gathering that sleeps notice nothing: in memory, and over real sockets."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from squire_gatherings import Hall, open_hall, serve
from squire_gatherings._hall.parts import observer_of
from squire_gatherings._values.numbers import Stage
from squire_gatherings.client import open_client
from tests.client.world import ROOM, a_world
from tests.ways_in.streams import OURS


def stage(hall: Hall | None) -> Stage | None:
    assert hall is not None
    seen = observer_of(hall).gathering(ROOM)
    return None if seen is None else seen.stage


async def wait_until_alone(hall: Hall) -> None:
    while hall.explain(ROOM).clients > 1:  # noqa: ASYNC110 (nobody tells)
        await trio.sleep(0.01)


async def test_it_wakes_for_a_client_and_ends_in_time(autojump_clock: MockClock) -> None:
    async with (
        a_world(OURS, idle_timeout=100.0, sleep_after=10.0) as (world, client),
        client.join(ROOM) as gathering,
        client.join(ROOM) as other,
    ):
        await trio.sleep(50)
        assert stage(world.hall) is Stage.ASLEEP
        await gathering.submit({"n": 1})
        changes = aiter(other)
        assert (await anext(changes)).op == {"n": 1}
        await trio.sleep(50)
        assert stage(world.hall) is Stage.ASLEEP
        assert other.dispersed is None
        async for _ in other:
            pass
        assert other.dispersed is not None
        assert other.dispersed.reason == "idle"


@pytest.mark.parametrize("connections", ["keep", "close"])
async def test_over_real_sockets(connections: Any, tmp_path: Path) -> None:
    """Ends of connections are noticed, too, while it sleeps; the incarnation stays the same."""
    store = f"sqlite:///{tmp_path / 'rooms.sqlite3'}"
    with trio.fail_after(60):
        async with open_hall(store=store) as hall, trio.open_nursery() as nursery:
            server = await nursery.start(partial(serve, hall, host="127.0.0.1", port=0))
            host, port = server.addresses[0]
            async with (
                open_client(f"ws://{host}:{port}") as client,
                client.join(ROOM) as gathering,
            ):
                async with client.join(ROOM) as other:
                    await gathering.submit({"n": 1})
                    assert (await anext(aiter(other))).op == {"n": 1}
                    incarnation = hall.explain(ROOM).incarnation
                    assert await hall.evict(ROOM, connections)
                    await gathering.submit({"n": 2})
                    assert await hall.evict(ROOM)
                await wait_until_alone(hall)
                if connections == "keep":
                    assert stage(hall) is Stage.ASLEEP
                await gathering.submit({"n": 3})
                assert gathering.seq == 3
                assert hall.explain(ROOM).incarnation == incarnation
            nursery.cancel_scope.cancel()
