"""Halls that are nodes by a real PostgreSQL: what one has, what it gives, and what it leaves."""

import pytest
import trio

from squire_gatherings._cluster.node import local_node_of
from squire_gatherings._hall.hall import Hall
from squire_gatherings._open_hall import open_hall
from squire_gatherings._stores.postgres.store import open_postgres_store
from squire_gatherings._values.errors import OwnedElsewhere
from squire_gatherings._values.events import LifecycleEvent
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.messages import Dispersed
from squire_gatherings._values.nodes import Node
from squire_gatherings.testing import Recorder
from tests.postgres import Postgres

ROOM = "friday-night"


def node(name: str) -> Node:
    """Return a new node."""
    return Node(id=name, name=name)


async def until_known(hall: Hall, count: int) -> None:
    """Return once a hall knows so many nodes."""
    with trio.fail_after(10.0):
        while len(hall.nodes) != count:  # noqa: ASYNC110 (no event tells of a beat)
            await trio.sleep(0.05)


async def test_nodes_share_a_database(postgres: Postgres) -> None:
    url = postgres.new_url()
    async with (
        open_hall(store=url, node=node("one")) as one,
        open_hall(store=url, node=node("two")) as two,
    ):
        assert await one.submit(ROOM, [{"n": 1}]) == (1,)
        with pytest.raises(OwnedElsewhere) as info:
            await two.submit(ROOM, [{"n": 2}])
        assert info.value.node.id == "one"
        recorder = Recorder()
        membership = await one.join(ROOM, recorder, identity=Identity("anna"))
        before = one.explain(ROOM)
        assert await one.move(ROOM, node("two"))
        assert [code for _, code, _ in recorder.closed] == [4010]
        with pytest.raises(OwnedElsewhere):
            await one.fetch(ROOM)
        again = await two.join(
            ROOM, Recorder(), identity=Identity("anna"), since=1, resume=membership.incarnation
        )
        assert again.incarnation == membership.incarnation
        assert two.explain(ROOM).deadline == pytest.approx(before.deadline, abs=0.05)
        for number in range(20):
            await two.submit(f"g{number}", [{"n": 1}])
        await until_known(two, 2)
        assert await two.drain() == 0
        for number in range(20):
            assert await one.submit(f"g{number}", [{"n": 2}]) == (2,)
        assert await one.submit(ROOM, [{"n": 2}]) == (2,)


async def test_a_node_that_falls_silent_is_followed(postgres: Postgres) -> None:
    url = postgres.new_url()
    told: list[LifecycleEvent] = []

    async def on_event(event: LifecycleEvent) -> None:
        await trio.lowlevel.checkpoint()
        told.append(event)

    async with (
        open_postgres_store(url, lease=1.0) as first,
        open_postgres_store(url, lease=1.0) as second,
        open_hall(store=first, node=node("one"), on_event=on_event) as one,
        open_hall(store=second, node=node("two"), on_event=on_event) as two,
    ):
        recorder = Recorder()
        await one.join(ROOM, recorder, identity=Identity("anna"))
        await one.submit(ROOM, [{"n": 1}])
        await one.submit("asleep", [{"n": 1}])
        assert await one.evict("asleep")
        incarnation = one.explain("asleep").incarnation
        local = local_node_of(one)
        assert local is not None
        # As if the network to the database were gone for beats.
        local.beats.stop()
        began = trio.current_time()
        with trio.fail_after(5.0):
            while "asleep" not in two.gatherings():  # noqa: ASYNC110
                await trio.sleep(0.02)
        assert trio.current_time() - began < 1.0 + 1.0
        assert two.explain("asleep").incarnation == incarnation
        assert await two.submit(ROOM, [{"n": 2}]) == (2,)
        with trio.fail_after(5.0):
            while len(told) < 5:  # noqa: ASYNC110
                await trio.sleep(0.02)
        about = [str(one.data.get("reason") or one.kind) for one in told if one.gathering == ROOM]
        assert about == ["opened", "joined_first", "lost", "opened"]
        assert [str(one.kind) for one in told if one.gathering == "asleep"] == ["opened"]
        # What it still does isn't written, nor shown.
        assert recorder.of(Dispersed) == []
    assert [str(one.reason) for one in recorder.of(Dispersed)] == ["moved"]


async def test_the_databases_clock_may_be_set(postgres: Postgres) -> None:
    url = postgres.new_url()
    schema = url.partition("schema=")[2]
    async with (
        open_postgres_store(url, lease=1.0) as first,
        open_postgres_store(url, lease=1.0) as second,
        open_hall(store=first, node=node("one")) as one,
        open_hall(store=second, node=node("two")) as two,
    ):
        await one.submit(ROOM, [{"n": 1}])
        await until_known(two, 2)
        with postgres.connect() as database:
            for _ in range(20):
                # As if the clock were an hour ahead of each beat.
                database.execute(f"UPDATE {schema}.nodes SET beat = beat - '1 hour'::interval")
                await trio.sleep(0.1)
                with pytest.raises(OwnedElsewhere):
                    await two.submit(ROOM, [{"n": 2}])
        assert await one.submit(ROOM, [{"n": 2}]) == (2,)
