"""Whole lives of clients at random: submits, cuts, dispersals, crashes, restarts, days gone by."""

from itertools import cycle
from typing import Any

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from squire_gatherings import DispersalReason, Identity
from squire_gatherings.client import Gathering, TokenReason
from squire_gatherings.testing import FailingStore
from tests.client.world import ROOM, World, a_world
from tests.ways_in.streams import StreamWay, over_every_way

CLIENTS = 3
IDLE_TIMEOUT = 100.0
DAY_ONE = 1_700_000_000.0
who = st.integers(0, CLIENTS - 1)
RULES = [one for one in DispersalReason if one.is_rule]

OTHER_REASONS = [
    one for one in DispersalReason if not (one.is_rule or one is DispersalReason.CRASHED)
]

naps = st.sampled_from([0.01, 0.1, 1.0, 30.0, 99.9, 130.0])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), who, st.integers(1, 3)),
        st.tuples(st.just("cut"), who, st.none()),
        st.tuples(st.just("abandon"), who, st.sampled_from([0.0, 0.05, 0.5])),
        st.tuples(st.just("sleep"), st.none(), naps),
        st.tuples(
            st.just("disperse"),
            st.none(),
            st.sampled_from(RULES),
        ),
        st.tuples(st.just("disperse"), st.none(), st.sampled_from(OTHER_REASONS)),
        st.tuples(st.just("store"), st.none(), st.booleans()),
        st.tuples(st.just("rejoin"), who, st.none()),
        st.tuples(st.just("tokens"), st.none(), st.booleans()),
        st.tuples(st.just("role"), st.none(), st.sampled_from(["member", "judge"])),
    ),
    max_size=25,
)


def set_away(store: FailingStore, is_away: bool) -> None:
    """Have appends take their time, or fail."""
    store.trouble("append", "busy" if is_away else "waits", seconds=0.03)


class Tokens:
    """Gives tokens that are good for a few seconds; now and then it has none."""

    is_away = False

    async def __call__(self, why: TokenReason) -> str:
        await trio.sleep(0.05)
        if self.is_away:
            raise OSError("no tokens")
        return str(trio.current_time() + 25.0)

    async def authenticate(self, token: str | None, gathering_id: str) -> Identity:
        await trio.sleep(0.05)
        if token is None:
            return Identity()
        return Identity("alice", expires_at=DAY_ONE + float(token))


class Life:
    """One client: the answers to its submits, and the changes that it saw."""

    def __init__(self, name: int) -> None:
        self.name = name
        self.own: dict[int, int] = {}
        self.seen: dict[int, int] = {}
        self.order: list[int] = []
        self.ends = 0
        self.abandoned: set[int] = set()

    async def submit(self, gathering: Gathering, numbers: list[int]) -> None:
        seqs = await gathering.submit_all({"n": number} for number in numbers)
        for seq, number in zip(seqs, numbers, strict=True):
            assert seq not in self.own
            self.own[seq] = number

    async def abandon(self, gathering: Gathering, number: int, after: float) -> None:
        with trio.move_on_after(after):
            await self.submit(gathering, [number])
            return
        self.abandoned.add(number)

    async def look_on(self, gathering: Gathering) -> None:
        while True:
            # Each change is asked for under a time limit, which often is over already.
            for limit in cycle((0.0, 0.0, 0.01, 100.0)):
                try:
                    with trio.move_on_after(limit):
                        change = await anext(gathering)
                        assert change.seq not in self.seen
                        self.seen[change.seq] = change.op["n"]
                        self.order.append(change.seq)
                        continue
                except StopAsyncIteration:
                    break
            assert gathering.dispersed is not None
            reason = DispersalReason(gathering.dispersed.reason)
            assert reason.is_rule or reason is DispersalReason.ADMIN
            self.ends += 1


async def live(way: StreamWay, script: list[tuple[str, Any, Any]], expires: bool) -> None:
    store, tokens = FailingStore(), Tokens()
    set_away(store, False)
    lives = [Life(name) for name in range(CLIENTS)]
    numbers = iter(range(10**6))
    async with (
        a_world(
            way,
            store=store,
            idle_timeout=IDLE_TIMEOUT,
            authenticate=tokens.authenticate,
            wall_clock=lambda: DAY_ONE + trio.current_time(),
            client_settings={
                "max_changes": 30,
                "max_pause": 5.0,
                "token": tokens if expires else None,
            },
        ) as (world, client),
        client.join(ROOM, since=0) as one,
        client.join(ROOM, since=0) as two,
        client.join(ROOM, since=0) as three,
        trio.open_nursery() as looking,
    ):
        gatherings = (one, two, three)
        for life, gathering in zip(lives, gatherings, strict=True):
            looking.start_soon(life.look_on, gathering)
        async with trio.open_nursery() as nursery:
            for what, index, detail in script:
                match what:
                    case "submit":
                        made = [next(numbers) for _ in range(detail)]
                        nursery.start_soon(lives[index].submit, gatherings[index], made)
                    case "abandon":
                        nursery.start_soon(
                            lives[index].abandon, gatherings[index], next(numbers), detail
                        )
                    case "rejoin":
                        nursery.start_soon(gatherings[index].rejoin)
                    case "tokens":
                        tokens.is_away = detail
                    case _:
                        await happen(world, store, what, index, detail)
            set_away(store, False)
            tokens.is_away = False
        # All submits are answered. Once all clients know of all ends, wake them: clients that sleep
        # or pause then catch up.
        await trio.sleep(20)
        for gathering in gatherings:
            await gathering.rejoin()
        await trio.sleep(20)
        assert [gathering.unanswered for gathering in gatherings] == [0, 0, 0]
        logs = [{**life.own, **life.seen} for life in lives]
        assert world.hall is not None
        fetched = await world.hall.fetch(ROOM, since=0)
        assert isinstance(fetched.ops, tuple)
        log = dict(enumerate((op.value["n"] for op in fetched.ops), start=1))
        assert len(set(log.values())) == len(log)
        for life, known, gathering in zip(lives, logs, gatherings, strict=True):
            # It has everything but the answers that it gave up waiting for; those ops are its own.
            lacking = {n for seq, n in log.items() if seq not in known}
            assert lacking <= life.abandoned
            assert all(log[seq] == number for seq, number in known.items())
            assert not life.own.keys() & life.seen.keys()
            assert life.order == sorted(life.order)
            assert gathering.snapshot() == len(log)
        looking.cancel_scope.cancel()


async def happen(world: World, store: FailingStore, what: str, index: Any, detail: Any) -> None:
    match what:
        case "cut" if world.opened > index:
            world.cut(index)
        case "sleep":
            await trio.sleep(detail)
        case "disperse":
            assert world.hall is not None
            await world.hall.disperse(ROOM, detail)
        case "store":
            set_away(store, detail)
        case "role":
            assert world.hall is not None
            world.hall.change_role("alice", detail)


@over_every_way
def test_each_op_comes_once_whatever_happens(way: StreamWay) -> None:
    @settings(max_examples=way.examples(80, long=150), deadline=None)
    @given(steps, st.booleans())
    def lives(script: list[tuple[str, Any, Any]], expires: bool) -> None:
        trio.run(live, way, script, expires, clock=MockClock(autojump_threshold=0))

    lives()
