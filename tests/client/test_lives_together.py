"""Several clients and a hall at random: cuts, dispersals, outages; in the end all have the log."""

from contextlib import suppress
from random import Random

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from squire_gatherings import LogReplaced, OpConflict, OpRejected
from squire_gatherings._stores import MemoryStore
from squire_gatherings.client import Client, Gathering
from tests.client.world import ROOM, World, a_world
from tests.support import Stamped, Strict, Sum
from tests.ways_in.streams import StreamWay, over_every_way


async def read(gathering: Gathering) -> None:
    while True:
        with suppress(LogReplaced):
            async for _ in gathering:
                continue
        # The gathering dispersed, and may be woken.
        await trio.sleep(1)


async def stay(
    name: str, world: World, client: Client, behaviour: type[Sum], random: Random
) -> dict[str, int]:
    """Join, submit now and then, compare at the end; return the answers."""
    answered: dict[str, int] = {}

    async def submit(gathering: Gathering, key: str) -> None:
        with suppress(OpConflict, OpRejected):
            answered[key] = await gathering.submit({"add": 1, "key": key})

    optimistic = random.random() < 0.5
    async with (
        client.join(ROOM, behaviour=behaviour, optimistic=optimistic) as gathering,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(read, gathering)
        for number in range(8):
            await trio.sleep(random.random() * 8)
            nursery.start_soon(submit, gathering, f"{name}-{number}")
        await trio.sleep(400)
        await gathering.rejoin()
        await trio.sleep(5)
        assert world.hall is not None
        page = await world.hall.fetch(ROOM)
        seq = page.seq
        assert gathering.unanswered == 0
        assert gathering.seq == seq
        state = page.snapshot if page.is_snapshot else {"total": seq}
        assert gathering.snapshot() == state
        nursery.cancel_scope.cancel()
    return answered


async def make_trouble(world: World, random: Random) -> None:
    hall = world.hall
    assert hall is not None
    for _ in range(12):
        await trio.sleep(random.random() * 10)
        match random.choice(["cut", "cut", "cut", "disperse", "outage"]):
            case "cut" if world.opened:
                world.cut(random.randrange(min(3, world.opened)))
            case "disperse":
                await hall.disperse(ROOM)
            case "outage":
                world.hall = None
                await trio.sleep(random.random() * 20)
                world.hall = hall


async def live_together(
    way: StreamWay, seed: int, behaviour: type[Sum], tail_bytes: int, batch_bytes: int
) -> None:
    random = Random(seed)
    lives: list[dict[str, int]] = []
    async with a_world(
        way,
        store=MemoryStore(),
        behaviour=behaviour,
        idle_timeout=30.0,
        tail_bytes=tail_bytes,
        batch_bytes=batch_bytes,
        snapshot_every=5,
        wall_clock=lambda: trio.current_time() + random.random(),
    ) as (world, client):

        async def one(name: str) -> None:
            lives.append(await stay(name, world, client, behaviour, random))

        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(one, name)
            nursery.start_soon(make_trouble, world, random)
        assert world.hall is not None
        log: list[str] = []
        while True:
            page = await world.hall.fetch(ROOM, since=len(log))
            assert isinstance(page.ops, tuple)
            log += [op.value["key"] for op in page.ops]
            if len(log) == page.seq:
                break
        assert len(set(log)) == len(log), "each op once"
        for answered in lives:
            for key, seq in answered.items():
                assert log[seq - 1] == key, "answered is logged"


@over_every_way
def test_all_clients_have_the_log_in_the_end(way: StreamWay) -> None:
    @settings(max_examples=way.examples(25, long=40), deadline=None)
    @given(
        st.integers(0, 2**32),
        st.sampled_from([Sum, Strict, Stamped]),
        st.sampled_from([1, 500, 10**6]),
        st.sampled_from([40, 10**6]),
    )
    def lives(seed: int, behaviour: type[Sum], tail_bytes: int, batch_bytes: int) -> None:
        trio.run(
            live_together,
            way,
            seed,
            behaviour,
            tail_bytes,
            batch_bytes,
            clock=MockClock(autojump_threshold=0),
        )

    lives()
