"""The contract of stores that several nodes share: in memory, and in PostgreSQL."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import pytest
import trio
from attrs import define, evolve
from msgspec.structs import replace

from squire_gatherings._hall.event_store import EventStore
from squire_gatherings._hall.owner_store import OwnerStore
from squire_gatherings._stores.postgres.store import open_postgres_store
from squire_gatherings._values.errors import DeclaredDead, TakenAway
from squire_gatherings._values.events import EventKind
from squire_gatherings._values.nodes import Node, NodeState
from squire_gatherings._values.sleep import SleepState
from squire_gatherings.testing import SharedMemory
from tests.stores.appends import a_sleeper, an_append, an_event


class NodeStore(OwnerStore, EventStore, Protocol):
    """What such a store is in all."""


@define(eq=False)
class World:
    """Stores that share what they have."""

    open: Callable[[], Any]

    async def node(self, name: str) -> NodeStore:
        """Return the store of a new node."""
        store: NodeStore = self.open()
        await store.enroll(Node(id=name, name=name))
        return store


@pytest.fixture(params=["memory", "postgres"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        shared = SharedMemory()

        yield World(shared.store)
        return
    server = request.getfixturevalue("postgres")
    url = server.new_url()
    async with (
        open_postgres_store(url) as one,
        open_postgres_store(url) as two,
        open_postgres_store(url) as three,
    ):
        stores = [one, two, three]
        yield World(stores.pop)


async def test_nodes_know_each_other(world: World) -> None:
    one, two = await world.node("one"), await world.node("two")
    assert isinstance(one, OwnerStore)
    now = trio.current_time()
    assert one.lease.is_valid(now)
    said = Node(
        id="one",
        name="first",
        machine="m",
        socket="/run/one",
        address="host:1",
        url="ws://one",
        state=NodeState.DRAINING,
        gatherings=3,
        connections=4,
    )
    assert {node.id for node in await one.beat(said)} == {"one", "two"}
    assert one.node == said
    [heard] = [node for node in await two.beat(two.node) if node.id == "one"]
    assert heard == said
    assert (heard.gatherings, heard.connections) == (3, 4)
    assert 0.0 <= heard.beat_age < 5.0
    assert abs(one.ahead() - two.ahead()) < 1.0


async def test_a_gathering_has_one_owner(world: World) -> None:
    one, two = await world.node("one"), await world.node("two")
    assert await one.owner_of("a") is None
    first = await one.claim("a")
    assert (first.owner.id, first.estate) == ("one", None)
    assert await one.claim("a") == first
    other = await two.claim("a")
    assert other.owner.id == "one"
    found = await two.owner_of("a")
    assert found is not None
    assert found.owner.id == "one"
    await one.append(an_append("a", 1))
    for work in (
        lambda: two.append(an_append("a", 2)),
        lambda: two.load("a", recent_syncs=1),
        lambda: two.load("nobody's", recent_syncs=1),
    ):
        with pytest.raises(TakenAway):
            await work()
    one.release_nowait("a")
    # Our own claim comes after it.
    again = await one.claim("a")
    assert again.owner.id == "one"
    assert again.epoch > first.epoch
    one.release_nowait("a")
    await _until_nobodys(two, "a")
    taken = await two.claim("a")
    assert taken.owner.id == "two"
    assert taken.epoch > again.epoch
    assert (await two.load("a", recent_syncs=1)).seq == 1
    with pytest.raises(TakenAway):
        await one.append(an_append("a", 2))
    with pytest.raises(TakenAway):
        await one.load("a", recent_syncs=1)
    await two.append(an_append("a", 2))


async def test_many_claims_at_once(world: World) -> None:
    nodes = [await world.node(name) for name in ("one", "two", "three")]
    owners: dict[str, set[str]] = {}

    async def claim(node: NodeStore, gathering: str) -> None:
        claim = await node.claim(gathering)
        owners.setdefault(gathering, set()).add(claim.owner.id)

    async with trio.open_nursery() as nursery:
        for number in range(30):
            for node in nodes:
                nursery.start_soon(claim, node, f"g{number}")
    assert len(owners) == 30
    assert all(len(one) == 1 for one in owners.values())


async def test_only_a_silent_node_is_declared_dead(world: World) -> None:
    one, two = await world.node("one"), await world.node("two")
    await one.claim("a")
    await one.append(an_append("a", 1))
    assert not await two.inherit(await _seen(two, "two"))
    assert not await two.inherit(Node(id="nobody", name="nobody"))
    seen = await _seen(two, "one")
    # A beat that comes before keeps it alive, whatever any clock says.
    await one.beat(one.node)
    assert not await two.inherit(seen)
    seen = await _seen(two, "one")
    assert seen.beats > 0
    assert await two.inherit(seen)
    with pytest.raises(DeclaredDead):
        await one.beat(one.node)
    assert await two.arrived(10) == ()
    assert [node.id for node in await two.beat(two.node)] == ["two"]
    assert not await two.inherit(seen)
    # Nothing was left of it, so nobody has it.
    assert await two.owner_of("a") is None
    assert (await two.claim("a")).owner.id == "two"
    with pytest.raises(TakenAway):
        await one.append(an_append("a", 2))
    with pytest.raises(TakenAway):
        await one.load("a", recent_syncs=1)
    await one.enroll(Node(id="one again", name="one"))
    assert (await one.claim("a")).owner.id == "two"
    assert {node.id for node in await one.beat(one.node)} == {"one again", "two"}


async def test_what_a_dead_node_has_left(world: World) -> None:
    one, two = await world.node("one"), await world.node("two")
    for gathering in ("friday", "saturday", "sunday"):
        await one.claim(gathering)
    await one.append(an_append("saturday", 1))
    await one.begin_events()
    await two.begin_events()
    await one.write_events(
        [
            an_event(1, EventKind.OPENED, "saturday"),
            an_event(2, EventKind.OPENED, "friday"),
        ]
    )
    asleep = a_sleeper("fridayfriday", gathering="friday")
    await one.write_sleep(asleep=[asleep], awake=[])
    assert await one.sleeping() == ()
    before = _arrivals(await two.beat(two.node), "two")
    assert await two.inherit(await _seen(two, "one"))
    assert _arrivals(await two.beat(two.node), "two") > before
    # The dead one writes nothing any more.
    await one.write_sleep(asleep=[_used_later(asleep)], awake=[])
    await one.write_sleep(asleep=[], awake=["fridayfriday"])
    await one.write_events([an_event(3, EventKind.DISPERSED, "saturday")])
    estates = {one.gathering: one for one in await two.arrived(10)}
    assert set(estates) == {"friday", "saturday"}
    assert estates["friday"].slept == asleep
    assert estates["friday"].lost is None
    lost = estates["saturday"].lost
    assert lost is not None
    assert (lost.opened.incarnation, lost.seq) == ("saturdaysaturday", 1)
    # Until it is settled it comes again; a claim brings it, too.
    assert {one.gathering for one in await two.arrived(10)} == {"friday", "saturday"}
    assert (await two.claim("friday")).estate == estates["friday"]
    await two.write_events([an_event(4, EventKind.DISPERSED, "saturday")])
    await two.settle(["friday", "saturday"])
    assert await two.arrived(10) == ()
    assert (await two.claim("saturday")).estate is None
    await two.write_sleep(asleep=[], awake=["fridayfriday"])
    assert await two.arrived(10) == ()
    # A claim says that nothing of it lives: so it was awake, and is lost.
    estate = (await two.claim("friday")).estate
    assert estate is not None
    assert estate.slept is None
    assert estate.lost is not None
    events = await two.read_events(after=0, up_to=2**62, limit=10)
    kinds = [(event.gathering, event.kind) for event in events]
    assert kinds == [
        ("saturday", EventKind.OPENED),
        ("friday", EventKind.OPENED),
        ("saturday", EventKind.DISPERSED),
    ]


async def test_what_a_node_leaves_that_resigns(world: World) -> None:
    one, two = await world.node("one"), await world.node("two")
    await one.claim("friday")
    await one.write_sleep(asleep=[a_sleeper()], awake=[])
    before = _arrivals(await two.beat(two.node), "two")
    await one.resign()
    assert not one.lease.is_valid(trio.current_time())
    silent = [node for node in await two.beat(two.node) if node.id == "one"]
    # It is gone, or anybody may inherit at once what it had.
    for node in silent:
        assert node.beat_age > 1e9
        assert await two.inherit(node)
    assert _arrivals(await two.beat(two.node), "two") > before
    assert [estate.slept for estate in await two.arrived(10)] == [a_sleeper()]


async def test_the_next_node_finds_what_earlier_ones_have_left(world: World) -> None:
    one = await world.node("one")
    await one.claim("friday")
    await one.write_sleep(asleep=[a_sleeper()], awake=[])
    await one.resign()
    two = await world.node("two")
    for node in await two.beat(two.node):
        if node.id != "two":
            await two.inherit(node)
    assert [estate.slept for estate in await two.arrived(10)] == [a_sleeper()]


async def test_gatherings_are_given(world: World) -> None:
    one, two = await world.node("one"), await world.node("two")
    for gathering in ("friday", "awake"):
        await one.claim(gathering)
    await one.write_sleep(asleep=[a_sleeper()], awake=[])
    before = _arrivals(await two.beat(two.node), "two")
    assert await one.give(["friday", "awake"], two.node) == ("friday",)
    # It may be asked again.
    assert await one.give(["friday", "awake"], two.node) == ("friday",)
    assert _arrivals(await two.beat(two.node), "two") > before
    # What comes late changes nothing.
    await one.write_sleep(asleep=[], awake=["aa"])
    with pytest.raises(TakenAway):
        await one.append(an_append("friday", 1))
    assert [estate.slept for estate in await two.arrived(10)] == [a_sleeper()]
    assert (await one.claim("friday")).owner.id == "two"
    await two.settle(["friday"])
    # A node that drains takes none, nor does one that isn't there.
    await one.beat(evolve(one.node, state=NodeState.DRAINING))
    assert await two.give(["friday"], one.node) == ()
    assert await two.give(["friday"], Node(id="nobody", name="nobody")) == ()
    found = await two.owner_of("friday")
    assert found is not None
    assert found.owner.id == "two"


async def test_what_was_released_sleeps_nowhere(world: World) -> None:
    one, two = await world.node("one"), await world.node("two")
    await one.claim("friday")
    await one.write_sleep(asleep=[a_sleeper()], awake=[])
    one.release_nowait("friday")
    await _until_nobodys(two, "friday")
    assert (await two.claim("friday")).estate is None


async def test_events_of_all_nodes_are_in_one_order(world: World) -> None:
    one, two = await world.node("one"), await world.node("two")
    for store, gathering in ((one, "a"), (two, "b")):
        await store.claim(gathering)
        left = await store.begin_events()
        assert left.open == ()
    await one.write_events([an_event(1, EventKind.OPENED, "a"), an_event(2, EventKind.EMPTIED)])
    await two.write_events([an_event(3, EventKind.OPENED, "b")])
    # Again, and with a later one.
    await one.write_events([an_event(2, EventKind.EMPTIED), an_event(3, EventKind.EMPTIED)])
    assert (await two.begin_events()).waiting == 4
    events = await two.read_events(after=0, up_to=2**62, limit=3)
    assert [one.id for one in events] == ["aa-1", "aa-2", "bb-3"]
    assert [one.number for one in events] == sorted({one.number for one in events})
    await two.forget_events(up_to=events[-1].number)
    rest = await one.read_events(after=0, up_to=2**62, limit=10)
    assert [one.id for one in rest] == ["aa-3"]


async def _seen(store: NodeStore, name: str) -> Node:
    """Return a node as another one is told of it."""
    [node] = [one for one in await store.beat(store.node) if one.id == name]
    return node


def _arrivals(nodes: tuple[Node, ...], name: str) -> int:
    [node] = [one for one in nodes if one.id == name]
    return node.arrivals


def _used_later(slept: Any) -> Any:
    state: SleepState = slept.state
    return replace(slept, state=replace(state, processed=state.processed + 1))


async def _until_nobodys(store: NodeStore, gathering: str) -> None:
    for _ in range(500):
        if await store.owner_of(gathering) is None:
            return
        await trio.sleep(0.01)
    raise AssertionError(f"{gathering} is still somebody's")
