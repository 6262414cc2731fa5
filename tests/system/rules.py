"""The rules: clients, the network, the store, logs, rights, time, and the server itself."""

from typing import Any

import trio
from hypothesis import strategies as st

from squire_gatherings import DispersalReason, GatheringsError, Hall
from squire_gatherings._hall.observing import SORTS, Question
from squire_gatherings._hall.parts import observer_of
from squire_gatherings.testing import ENDLESS, Trouble
from tests.system.rule import kinds, links, people, rooms, rule, strangers, waits
from tests.system.setup import ROOMS
from tests.system.store import APPENDS, EVENTS, READS
from tests.system.world import World

# Strangers.


@rule(
    weight=4,
    one=strangers,
    how=st.sampled_from(["all", "all", "nothing", "tail", "resume"]),
    room=st.sampled_from([ENDLESS, ENDLESS, 300]),
    piece=st.sampled_from([65536, 65536, 7]),
)
async def stranger_joins(world: World, one: int, how: str, room: int, piece: int) -> None:
    await world.strangers[one].join(how, room=room, piece=piece)


@rule(weight=6, one=strangers, kinds=kinds, stale=st.sampled_from([0, 0, 1, 3]))
async def stranger_submits(world: World, one: int, kinds: list[str], stale: int) -> None:
    await world.strangers[one].submit(kinds, stale=stale)


@rule(weight=2, one=strangers)
async def stranger_repeats(world: World, one: int) -> None:
    await world.strangers[one].repeat()


@rule(weight=2, one=strangers, number=st.integers(0, 9))
async def stranger_asks_again(world: World, one: int, number: int) -> None:
    await world.strangers[one].ask_again(number)


@rule(weight=3, one=strangers)
async def stranger_acknowledges(world: World, one: int) -> None:
    await world.strangers[one].ack()


@rule(one=strangers, since=st.none() | st.integers(0, 20))
async def stranger_fetches(world: World, one: int, since: int | None) -> None:
    await world.strangers[one].fetch(since)


@rule(one=strangers)
async def stranger_leaves(world: World, one: int) -> None:
    await world.strangers[one].leave()


@rule(one=strangers, politely=st.booleans())
async def stranger_hangs_up(world: World, one: int, politely: bool) -> None:
    await world.strangers[one].hang_up(politely=politely)


@rule(one=strangers, answers=st.booleans())
async def stranger_answers_pings(world: World, one: int, answers: bool) -> None:
    world.strangers[one].set_pongs(answers)


NONSENSE = [
    b"",
    b"{",
    b"[]",
    b'{"type": "dance"}',
    b'{"type": "join"}',
    b'{"type": "sync", "id": "x", "base": 999999, "ops": [{"k": "x", "do": "plain"}]}',
    b'{"type": "fetch", "id": "x", "since": 999999}',
    b'{"type": "ack", "seq": 999999}',
    b"\xff",
]


@rule(one=strangers, data=st.sampled_from(NONSENSE), ends=st.booleans())
async def stranger_talks_nonsense(world: World, one: int, data: bytes, ends: bool) -> None:
    await world.strangers[one].talk_nonsense(data, ends=ends)


# People, who use our client.


@rule(weight=3, one=people)
async def person_arrives(world: World, one: int) -> None:
    await world.people[one].arrive()


@rule(one=people)
async def person_goes(world: World, one: int) -> None:
    await world.people[one].go()


@rule(weight=4, one=people, kinds=kinds, after=st.sampled_from([None, None, None, 0.0, 0.1, 3.0]))
async def person_submits(world: World, one: int, kinds: list[str], after: float | None) -> None:
    world.people[one].submit(kinds, after)


@rule(one=people)
async def person_rejoins(world: World, one: int) -> None:
    here = world.people[one].here
    if here is not None:
        with trio.move_on_after(1):
            await here.rejoin()


@rule(one=people, reads=st.booleans())
async def person_reads(world: World, one: int, reads: bool) -> None:
    world.people[one].set_reading(reads)


# The network. `back` counts links from the newest one.


@rule(weight=2, back=links, how=st.sampled_from(["end", "reset"]))
async def link_breaks(world: World, back: int, how: Any) -> None:
    if back < len(world.taps):
        world.taps[-1 - back].link.cut(how)


@rule(
    weight=2,
    back=links,
    after=st.integers(0, 600),
    up=st.booleans(),
    how=st.sampled_from(["end", "reset"]),
)
async def link_will_break(world: World, back: int, after: int, up: bool, how: Any) -> None:
    """The link breaks after this many bytes more, even in the middle of a message."""
    if back < len(world.taps):
        link = world.taps[-1 - back].link
        link.breaks = how
        (link.up if up else link.down).breaks_after = after


@rule(weight=2, back=links, up=st.booleans(), down=st.booleans())
async def link_stalls(world: World, back: int, up: bool, down: bool) -> None:
    """Nothing arrives any more, or everything arrives again."""
    if back < len(world.taps):
        world.taps[-1 - back].link.stall(up=up, down=down)


# The store.


@rule(weight=3, mood=st.sampled_from(APPENDS), delay=st.sampled_from([0.0, 0.3, 2.0]))
async def store_appends(world: World, mood: Trouble, delay: float) -> None:
    world.store.appends_go(mood, delay)


@rule(mood=st.sampled_from(READS))
async def store_reads(world: World, mood: Trouble) -> None:
    world.store.reads_go(mood)


@rule(mood=st.sampled_from(EVENTS))
async def store_writes_who_sleeps(world: World, mood: Trouble) -> None:
    """The next hall goes on with those of whom it was written; others wake when it can be."""
    world.truth.sleeps_badly = True
    world.store.sleep_goes(mood)


# Calls of the program that has the hall.


async def call(
    world: World, room: str, ask: Any, patience: float, *, to_store: bool = False
) -> None:
    """Call the hall, in a task of its own.

    With `to_store` the call waits for the store, and is no use of a gathering.
    """
    hall = world.hall
    if hall is None:
        return

    async def asking() -> None:
        if not to_store:
            world.truth.used(room)
        world.calling += 1
        try:
            with trio.move_on_after(patience) as scope:
                if to_store:
                    world.waits_for_store(hall, scope)
                await ask(hall)
        except GatheringsError:
            pass
        finally:
            world.waiting.discard(scope)
            world.calling -= 1
            if not to_store:
                world.truth.used(room)
                world.truth.visited(room)

    world.nursery.start_soon(asking)


patiences = st.sampled_from([1e6, 1e6, 0.0, 0.2])


@rule(weight=2, room=rooms, kinds=kinds, patience=patiences)
async def hall_submits(world: World, room: str, kinds: list[str], patience: float) -> None:
    world.calls += 1
    author = f"h{world.calls}"
    ops = [{"k": f"{author}.{number}", "do": kind} for number, kind in enumerate(kinds)]
    world.truth.submits(room, ops)

    async def ask(hall: Hall) -> None:
        log = world.truth.logs.now[room]
        seqs = await hall.submit(room, ops, sync_id=author)
        world.truth.synced((room, "the program", author), seqs, ops, log)

    await call(world, room, ask, patience)


@rule(room=rooms, since=st.none() | st.integers(0, 5), patience=patiences)
async def hall_fetches(world: World, room: str, since: int | None, patience: float) -> None:
    await call(world, room, lambda hall: hall.fetch(room, since=since), patience)


@rule(room=rooms, patience=patiences)
async def hall_opens(world: World, room: str, patience: float) -> None:
    await call(world, room, lambda hall: hall.open(room), patience)


@rule(room=rooms, sort=st.sampled_from(SORTS))
async def operator_reads(world: World, room: str, sort: str) -> None:
    """That is no activity: the truth about ends isn't told of it."""
    if world.hall is None:
        return
    observer = observer_of(world.hall)
    stages = observer.stages
    world.truth.check(min(stages.values()) >= 0, f"fewer than none: {stages}")
    seen = observer.gathering(room)
    world.truth.check(seen is None or seen.numbers.gathering == room, f"not {room}: {seen}")
    await observer.members(room, after=0, limit=2)
    survey = await observer.survey(Question(sort=sort, limit=2))
    world.truth.check(len(survey.gatherings) <= survey.matched, f"too many: {survey}")


@rule(room=rooms, patience=patiences)
async def hall_disperses(world: World, room: str, patience: float) -> None:
    async def ask(hall: Hall) -> None:
        life = world.truth.lives.get(room)
        if life is not None:
            life.is_ending = True
        await hall.disperse(room, DispersalReason.ADMIN)

    await call(world, room, ask, patience)


@rule(
    weight=3,
    room=rooms,
    connections=st.sampled_from(["keep", "keep", "close"]),
    patience=patiences,
)
async def hall_evicts(world: World, room: str, connections: Any, patience: float) -> None:
    """It falls asleep as soon as nothing is under way. Nobody notices, or all are to come back."""

    async def ask(hall: Hall) -> None:
        if connections == "close":
            world.truth.closed.add(room)
            world.truth.put_out_at = world.truth.now()
        await hall.evict(room, connections)

    await call(world, room, ask, patience, to_store=True)


@rule(weight=2, one=strangers, number=st.integers(0, 2))
async def old_syncs_come_again_after_an_end(world: World, one: int, number: int) -> None:
    """The next incarnation remembers the newest syncs alone; only the store has this one."""
    stranger = world.strangers[one]
    for _ in range(3):
        await stranger.submit(["plain"], stale=0)
        await world.settle()
    await hall_disperses(world, stranger.gathering, 1e6)
    await world.settle()
    await stranger.join("all", room=ENDLESS, piece=65536)
    await stranger.ask_again(number)


# Whole logs, of which the program that has the hall disposes.


async def change(world: World, room: str, ask: Any, patience: float) -> None:
    """Call the hall for something that changes the whole log of a gathering."""

    async def asking(hall: Hall) -> None:
        world.truth.change_began(room)
        try:
            await ask(hall)
        finally:
            world.truth.change_ended(room)

    await call(world, room, asking, patience, to_store=True)


@rule(weight=2, room=rooms, patience=patiences)
async def log_is_deleted(world: World, room: str, patience: float) -> None:
    await change(world, room, lambda hall: hall.logs.delete(room), patience)


@rule(weight=2, room=rooms, new=rooms, left=st.none() | st.integers(0, 5), patience=patiences)
async def log_is_forked(
    world: World, room: str, new: str, left: int | None, patience: float
) -> None:
    """The new log has everything, or everything but the last ops."""

    async def ask(hall: Hall) -> None:
        at = None if left is None else max(0, len(world.truth.log(room)) - left)
        seq = await hall.logs.fork(room, new, at=at)
        world.truth.check(at is None or seq == at, f"{room} forked at {at}, not {seq}")

    await change(world, new, ask, patience)


@rule(
    weight=3,
    room=rooms,
    left=st.integers(0, 5),
    forget_syncs=st.sampled_from([False, False, True]),
    patience=patiences,
)
async def log_is_compacted(
    world: World, room: str, left: int, forget_syncs: bool, patience: float
) -> None:
    """The last ops are left, and perhaps some before."""

    async def ask(hall: Hall) -> None:
        up_to = max(0, len(world.truth.log(room)) - left)
        before = world.truth.logs.now[room].first_seq
        first_seq = await hall.logs.compact(room, up_to=up_to, forget_syncs=forget_syncs)
        is_right = first_seq <= max(before, up_to + 1)
        world.truth.check(is_right, f"{room}: {first_seq}, compacted up to {up_to}")

    await change(world, room, ask, patience)


@rule(weight=2, room=rooms, patience=patiences)
async def log_is_exported(world: World, room: str, patience: float) -> None:
    async def ask(hall: Hall) -> None:
        world.exports.append(tuple([line async for line in hall.logs.export(room)]))

    await call(world, room, ask, patience, to_store=True)


@rule(weight=2, number=st.integers(0, 9), room=rooms, patience=patiences)
async def log_is_imported(world: World, number: int, room: str, patience: float) -> None:
    if world.exports:
        lines = world.exports[number % len(world.exports)]
        await change(
            world, room, lambda hall: hall.logs.import_log(lines, gathering_id=room), patience
        )


@rule()
async def logs_are_listed(world: World) -> None:
    async def ask(hall: Hall) -> None:
        logs = world.truth.logs
        before = {room: (logs.now[room], len(logs.now[room].ops)) for room in ROOMS}
        found = {one.gathering: one for one in await hall.logs.list_logs()}
        for room, (log, least) in before.items():
            if log is logs.now[room]:
                # Ops may be added while the list is made.
                seq = found[room].seq if room in found else 0
                most = len(log.ops)
                fits = least <= seq <= most
                world.truth.check(fits, f"{room}: listed with {seq} ops, not {least} to {most}")

    await call(world, ROOMS[0], ask, 1e6, to_store=True)


# Rights, which the program that has the hall decides.

users = st.sampled_from(["alice", "bob"])


@rule(user=users, how=st.sampled_from(["revoke", "observer"]))
async def user_is_denied(world: World, user: str, how: str) -> None:
    world.deny(user, how)


@rule(user=users)
async def user_is_allowed(world: World, user: str) -> None:
    world.allow(user)


@rule(user=users, room=st.none() | rooms)
async def user_is_kicked(world: World, user: str, room: str | None) -> None:
    if world.hall is not None:
        world.truth.put_out_at = world.truth.now()
        world.hall.kick(user, gathering_id=room)


@rule(user=users, seconds=st.sampled_from([3.0, 30.0]))
async def rights_are_short(world: World, user: str, seconds: float) -> None:
    """The user's rights are short from the next join on."""
    world.terms[user] = seconds


# Time, and the server itself.


@rule(seconds=st.sampled_from([-86_400.0, -3600.0, -1.0, 1.0, 3600.0]))
async def wall_clock_steps(world: World, seconds: float) -> None:
    world.truth.wall_steps()
    world.wall_at += seconds
    world.set_back += max(0.0, -seconds)


@rule(weight=6, seconds=waits)
async def time_passes(world: World, seconds: float) -> None:
    await trio.sleep(seconds)
    await world.settle()


@rule(seconds=waits)
async def machine_sleeps(world: World, seconds: float) -> None:
    world.jump(seconds)


@rule(one=strangers, submits=st.booleans(), seconds=st.sampled_from([15.0, 20.5, 45.0]))
async def stranger_speaks_as_the_machine_falls_asleep(
    world: World, one: int, submits: bool, seconds: float
) -> None:
    """Its bytes lie unread when the server sees a deadline late, and are read in small pieces."""
    await world.strangers[one].join("all", room=ENDLESS, piece=7)
    await world.settle()
    if submits:
        await world.strangers[one].submit(["plain"], stale=0)
    else:
        await world.strangers[one].ack()
    world.jump(seconds)


@rule(room=rooms)
async def all_ask_again_after_an_end(world: World, room: str) -> None:
    """The next incarnation is asked about the oldest syncs: only the store remembers them."""
    await hall_disperses(world, room, 1e6)
    await world.settle()
    for stranger in world.strangers:
        if stranger.gathering == room:
            await stranger.join("all", room=ENDLESS, piece=65536)
            for number in range(3):
                await stranger.ask_again(number)


@rule()
async def server_restarts(world: World) -> None:
    await world.close()
    await world.open()


@rule(lands=st.booleans(), for_long=st.sampled_from([0.0, 3.0]))
async def server_is_killed(world: World, lands: bool, for_long: float) -> None:
    await world.kill(lands=lands)
    await trio.sleep(for_long)
    await world.open()


@rule(weight=2, room=rooms, connections=st.sampled_from(["keep", "close"]), killed=st.booleans())
async def server_ends_while_one_sleeps(
    world: World, room: str, connections: Any, killed: bool
) -> None:
    """The next hall goes on with the gathering, if the store was told that it sleeps."""
    await hall_evicts(world, room, connections, 0.2)
    await world.settle()
    if killed:
        await world.kill(lands=True)
    else:
        await world.close()
    await world.open()
