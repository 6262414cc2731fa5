"""Plans: what may happen in a random life, drawn by hypothesis. A new one is a function here."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import trio
from attrs import frozen
from hypothesis import strategies as st

from squire_gatherings._values.errors import GatheringsError
from squire_gatherings.testing._hall import ROOM
from squire_gatherings.testing._life import Life
from squire_gatherings.testing._trouble import Calls, Trouble

Ops = st.SearchStrategy[dict[str, Any]] | Callable[[Any], st.SearchStrategy[dict[str, Any]]]
"""A strategy for ops, or a function that returns one for a state."""

Act = Callable[..., Awaitable[None]]


@frozen
class Happening:
    """Something that may happen: arguments are drawn from the strategies of their names."""

    act: Act
    arguments: dict[str, st.SearchStrategy[Any]]
    weight: int


HAPPENINGS: dict[str, Happening] = {}


def may_happen(weight: int = 1, **arguments: st.SearchStrategy[Any]) -> Callable[[Act], Act]:
    """Let this happen, so many times as often as others."""

    def add(act: Act) -> Act:
        HAPPENINGS[act.__name__] = Happening(act, arguments, weight)
        return act

    return add


@frozen
class Drawing:
    """What the steps of one life draw from."""

    draw: Callable[[st.SearchStrategy[Any]], Any]
    ops: Ops
    users: st.SearchStrategy[str]

    def some_ops(self, state: Any) -> list[dict[str, Any]]:
        """Return the ops of one sync."""
        one = self.ops(state) if callable(self.ops) else self.ops
        found: list[dict[str, Any]] = self.draw(st.lists(one, min_size=1, max_size=2))
        return found


# Who is there, and what they do.


@may_happen(3, optimistic=st.booleans())
async def joins(life: Life, who: str, drawing: Drawing, optimistic: bool) -> None:
    if who not in life.members:
        life.tell(f"{who} joins" + (", and shows what isn't answered" if optimistic else ""))
        await life.join(who, optimistic=optimistic)


@may_happen()
async def leaves(life: Life, who: str, drawing: Drawing) -> None:
    if who in life.members:
        life.tell(f"{who} leaves")
        await life.leave(who)


@may_happen(6)
async def submits(life: Life, who: str, drawing: Drawing) -> None:
    member = life.members.get(who)
    if member is not None:
        ops = drawing.some_ops(member.state)
        life.tell(f"{who} submits {ops}")
        life.submit(who, ops)


@may_happen(3)
async def program_submits(life: Life, who: str, drawing: Drawing) -> None:
    state: Any = None
    if callable(drawing.ops):
        try:
            state = (await life.room.hall.fetch(ROOM)).snapshot
        except GatheringsError:
            return
    ops = drawing.some_ops(state)
    life.tell(f"the program submits {ops} for {who}")
    life.submit_directly(who, ops)


@may_happen(number=st.integers(0, 20))
async def program_repeats(life: Life, who: str, drawing: Drawing, number: int) -> None:
    """A sync of the same id is applied once, however often it comes."""
    if life.direct:
        submit = life.direct[number % len(life.direct)]
        life.tell(f"the program submits {submit.sync_id} once more")
        life.again(submit)


# The network.


@may_happen(2, how=st.sampled_from(["end", "reset"]))
async def is_cut_off(life: Life, who: str, drawing: Drawing, how: Any) -> None:
    life.tell(f"{who} is cut off ({how})")
    life.room.network.cut(who, how)


@may_happen(count=st.integers(1, 400), up=st.booleans(), how=st.sampled_from(["end", "reset"]))
async def will_be_cut_off(
    life: Life, who: str, drawing: Drawing, count: int, up: bool, how: Any
) -> None:
    for link in life.room.network.of(who)[-1:]:
        life.tell(f"{who} is cut off ({how}) {count} bytes later, {'up' if up else 'down'}")
        link.cut_after(count, up=up, how=how)


@may_happen(up=st.booleans(), down=st.booleans())
async def is_stalled(life: Life, who: str, drawing: Drawing, up: bool, down: bool) -> None:
    for link in life.room.network.of(who)[-1:]:
        life.tell(f"{who} is stalled (up: {up}, down: {down})")
        link.stall(up=up, down=down)


# The gathering, the hall and its store.


@may_happen(3, seconds=st.sampled_from([0.0, 0.3, 1.0, 5.0, 30.0, 61.0]))
async def time_passes(life: Life, who: str, drawing: Drawing, seconds: float) -> None:
    life.tell(f"{seconds} s pass")
    await trio.sleep(seconds)
    await life.room.settle()


@may_happen(2, connections=st.sampled_from(["keep", "close"]))
async def falls_asleep(life: Life, who: str, drawing: Drawing, connections: Any) -> None:
    life.tell(f"the gathering is to fall asleep ({connections} connections)")
    with trio.move_on_after(5):
        await life.room.hall.evict(ROOM, connections)


@may_happen()
async def disperses(life: Life, who: str, drawing: Drawing) -> None:
    life.tell("the gathering disperses")
    with trio.move_on_after(60):
        await life.room.hall.disperse(ROOM)


@may_happen()
async def server_restarts(life: Life, who: str, drawing: Drawing) -> None:
    life.tell("the server restarts")
    await life.room.restart()


@may_happen(lands=st.booleans())
async def server_is_killed(life: Life, who: str, drawing: Drawing, lands: bool) -> None:
    life.tell("the server is killed" + ("; what it was writing lands" if lands else ""))
    await life.room.kill(lands=lands)


@may_happen(
    which=st.sampled_from(["append", "append", "reading", "write_sleep"]),
    what=st.sampled_from(["slow", "busy", "full", "torn", "waits"]),
    calls=st.sampled_from([None, 1, 2]),
)
async def store_has_trouble(
    life: Life, who: str, drawing: Drawing, which: Calls, what: Trouble, calls: int | None
) -> None:
    life.tell(f"the store is {what} ({which}, {calls or 'all'} calls)")
    life.room.store.trouble(which, what, seconds=0.5, calls=calls)


@may_happen(2)
async def store_is_well(life: Life, who: str, drawing: Drawing) -> None:
    life.tell("the store is well")
    life.room.store.heal()


@may_happen(seconds=st.sampled_from([-3600.0, -1.0, 3600.0]))
async def wall_clock_is_set(life: Life, who: str, drawing: Drawing, seconds: float) -> None:
    life.tell(f"the wall clock is set by {seconds} s")
    life.room.wall_clock.step(seconds)


SETTINGS = st.fixed_dictionaries(
    {
        "sleep_after": st.sampled_from([None, 0.5, 8.0]),
        "snapshot_every": st.sampled_from([1, 3, 1000]),
        "recent_syncs": st.sampled_from([256, 1]),
        "tail_bytes": st.sampled_from([10_000, 60]),
    }
)
"""The settings of a life's hall."""


def some_of(what: Sequence[str], most: int) -> st.SearchStrategy[list[str]]:
    """Return a strategy for some of these, in any order, many as often as few.

    A single list would be short unless it had a least size, which would keep it from shrinking.
    """
    parts = st.tuples(*[st.lists(st.sampled_from(what), max_size=most // 3)] * 3)
    return parts.map(lambda found: [one for part in found for one in part])


def happens(
    draw: Callable[[st.SearchStrategy[Any]], Any], ops: Ops, users: Mapping[str, str], steps: int
) -> Callable[[Life], Awaitable[None]]:
    """Return what happens in a life, drawn while it happens."""
    names = [name for name, one in HAPPENINGS.items() for _ in range(one.weight)]
    drawing = Drawing(draw, ops, st.sampled_from(sorted(users)))

    async def happen(life: Life) -> None:
        for who in users:
            life.tell(f"{who} joins")
            await life.join(who, optimistic=False)
        for name in draw(some_of(names, steps)):
            one = HAPPENINGS[name]
            who = draw(drawing.users)
            arguments = {key: draw(value) for key, value in one.arguments.items()}
            await one.act(life, who, drawing, **arguments)
            if draw(st.booleans()):
                await life.room.settle()
            life.look()

    return happen
