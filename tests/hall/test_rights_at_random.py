"""Rights at random: joins, syncs, expiries, refreshes and the program's changes, in any order."""

import gc
import weakref
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import trio
from attrs import define, field
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from squire_gatherings import (
    Forbidden,
    GatheringCrashed,
    Hall,
    Identity,
    Membership,
    Op,
    Outgoing,
    Replaced,
    Stamp,
    Submission,
    Unauthorized,
    open_hall,
)
from squire_gatherings._values.messages import (
    Ack,
    Error,
    Fetch,
    Forward,
    ForwardBatch,
    Joined,
    Refresh,
    Refreshed,
    Sync,
)
from squire_gatherings.testing import FailingStore
from tests.support import Recorder, examples, slow_store

DAY_ONE = 1_700_000_000.0
USERS = ("alice", "bob")
ROLES = ("member", "judge", "observer")
ROOMS = ("here", "there")
INFINITY = float("inf")


@define(eq=False)
class Model:
    """What every connection may do now, by the simplest rules."""

    set_by: float = 0.0
    revoked: dict[str, float] = field(factory=dict)
    roles: dict[tuple[str, str | None], tuple[str, float]] = field(factory=dict)
    conns: list["Conn"] = field(factory=list)
    wrong: list[str] = field(factory=list)
    """Broken rules. If a check raised, the hall would take that as the connection's fault."""

    def must(self, holds: bool, what: str) -> None:
        if not holds:
            self.wrong.append(f"{what} at {trio.current_time()}")

    def wall(self) -> float:
        return DAY_ONE + trio.current_time() + self.set_by

    def look(self) -> None:
        """See whose rights have ended: they stay so, whatever the clock is set to."""
        for one in self.conns:
            # Of one that is gone, only waiting requests are left: each is looked at in its turn.
            if not one.is_dropped:
                one.is_muted = one.has_ended

    def is_revoked(self, user: str) -> bool:
        return self.revoked.get(user, 0.0) > self.wall()

    def role_said(self, user: str, room: str) -> str | None:
        for key in ((user, room), (user, None)):
            role, until = self.roles.get(key, ("", 0.0))
            if until > self.wall():
                return role
        return None


class Conn(Recorder):
    """One connection, which checks with each message whether it may be told it."""

    def __init__(self, model: Model, number: int, user: str, room: str) -> None:
        super().__init__()
        self.model, self.number, self.user, self.room = model, number, user, room
        self.role: str | None = None
        """The membership; None while it isn't in."""
        self.said: str | None = None
        """What the program said about it while it was joining."""
        self.expires_at = INFINITY
        self.has_begun = False
        self.is_out = False
        self.is_dropped = False
        self.is_muted = False
        self.asked: list[str] = []
        self.answers: Counter[str] = Counter()
        self.membership: Membership | None = None

    @property
    def has_rights(self) -> bool:
        return self.role is not None and not self.is_out and not self.has_ended

    @property
    def has_ended(self) -> bool:
        self.is_muted = self.is_muted or self.expires_at <= self.model.wall()
        return self.is_muted

    def send(self, outgoing: Outgoing) -> None:
        message = outgoing.message
        super().send(outgoing)
        if isinstance(message, Joined | Refreshed):
            self.hear(message)
        elif isinstance(message, Forward | ForwardBatch):
            self.model.must(self.has_rights, f"{self.number} reads without rights")
        request_id = getattr(message, "id", None)
        if isinstance(request_id, str):
            self.answers[request_id] += 1
            self.model.must(self.answers[request_id] == 1, f"{request_id} is answered twice")
            self.model.must(request_id in self.asked, f"{request_id} wasn't asked")
            if isinstance(message, Error) and message.code == "unauthorized":
                may = request_id.startswith("refresh") or self.has_ended
                self.model.must(may, f"{request_id} is refused to who has rights")

    def hear(self, message: Joined | Refreshed) -> None:
        said = self.model.role_said(self.user, self.room)
        asked = isinstance(message, Joined) or isinstance(message.id, str)
        if asked:
            must = self.model.must
            must(not self.model.is_revoked(self.user), f"{self.user} is revoked, and let in")
            must(said in (None, message.role), f"the role is {message.role}, and {said} was said")
            if said is None:
                must(self.said in (None, message.role), f"{message.role} instead of {self.said}")
            self.is_muted = False
            left = message.rights_expire_in
            now = self.model.wall()
            self.expires_at = now + left if isinstance(left, float) else INFINITY
            must(self.expires_at > now, "let in without rights")
            self.said = None
        self.role = message.role


class Watched:
    """Checks at each judgement whether the author has the right to it."""

    serves_snapshots = False
    model: Model

    def __init__(self) -> None:
        self.length = 0

    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        identity = submission.identity
        for op in ops:
            conn, must = self.model.conns[op.value["conn"]], self.model.must
            must(conn.has_rights, f"{conn.number} is judged without rights")
            must(identity.user == conn.user, "it's judged as somebody else")
            must(identity.role == conn.role, f"{identity.role} instead of {conn.role}")
            must(identity.role != "observer", "an observer is judged")
        return ops

    def fold(self, op: Op, stamp: Stamp) -> None:
        self.length += 1

    def snapshot(self) -> int:
        return self.length

    def restore(self, snapshot: int) -> None:
        self.length = snapshot


lasting = st.sampled_from([1.0, 3.0, 20.0, INFINITY])
user = st.sampled_from(USERS)
conn = st.integers(0, 5)
until = st.sampled_from([0.0, 2.0, 5.0, INFINITY])
where = st.sampled_from([*ROOMS, None])
FIRST: list[tuple[Any, ...]] = [
    ("join", "alice", "here", "judge", INFINITY),
    ("join", "bob", "here", "member", 20.0),
    ("join", "alice", "there", "member", 3.0),
    ("wait", 0.4),
]
"""Steps before the random ones, so that those meet somebody."""

steps = st.lists(
    st.one_of(
        st.tuples(st.just("join"), user, st.sampled_from(ROOMS), st.sampled_from(ROLES), lasting),
        st.tuples(st.just("sync"), conn),
        st.tuples(st.just("sync"), conn),
        st.tuples(st.just("fetch"), conn),
        st.tuples(st.just("ack"), conn),
        st.tuples(st.just("refresh"), conn, user, st.sampled_from(ROLES), lasting),
        st.tuples(st.just("drop"), conn),
        st.tuples(st.just("revoke"), user, until),
        st.tuples(st.just("kick"), user, where),
        st.tuples(st.just("role"), user, st.sampled_from(ROLES), where, st.none() | until),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0, 12.0])),
        st.tuples(st.just("set"), st.sampled_from([-5.0, 5.0])),
        st.tuples(st.just("disperse"), st.sampled_from(ROOMS)),
        st.tuples(st.just("slow"), st.sampled_from([0.0, 0.4])),
    ),
    max_size=40,
)


@settings(max_examples=examples(60, long=100), deadline=None)
@given(steps, st.sampled_from([0.0, 0.3]))
@example([("sync", 2), ("drop", 2), ("set", 5.0), ("set", 0.0), ("set", -5.0)], 0.0)
def test_nobody_does_what_it_may_not(plan: list[tuple[Any, ...]], check_takes: float) -> None:
    model = Model()
    behaviour = type("Watched", (Watched,), {"model": model})

    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        assert token is not None
        user, role, ends_at = token.split(":")
        await trio.sleep(check_takes)
        return Identity(user, role, None if ends_at == "inf" else float(ends_at))

    def token(user: str, role: str, lasts: float) -> str:
        return f"{user}:{role}:{model.wall() + lasts if lasts < INFINITY else 'inf'}"

    async def join(hall: Hall, conn: Conn, role: str, lasts: float) -> None:
        conn.has_begun = True
        with suppress(Unauthorized, Forbidden, Replaced):
            conn.membership = await hall.join(
                conn.room, conn, token=token(conn.user, role, lasts), since=0
            )
            assert conn.role is not None

    async def play(hall: Hall, nursery: trio.Nursery, store: FailingStore) -> None:
        number = 0
        for what, *values in [*FIRST, *plan]:
            number += 1
            chosen = None
            if what in ("sync", "fetch", "ack", "refresh", "drop") and model.conns:
                chosen = model.conns[values[0] % len(model.conns)]
                if chosen.membership is None:
                    continue
            match what:
                case "join":
                    name, room, role, lasts = values
                    one = Conn(model, len(model.conns), name, room)
                    model.conns.append(one)
                    nursery.start_soon(join, hall, one, role, lasts)
                case "sync" if chosen is not None:
                    op = Op.of({"conn": chosen.number})
                    say(chosen, Sync(f"sync{number}", 0, (op,)))
                case "fetch" if chosen is not None:
                    say(chosen, Fetch(f"fetch{number}", 0))
                case "ack" if chosen is not None:
                    say(chosen, Ack(max([0, *(seq for _, seq, _, _ in chosen.forwards())])))
                case "refresh" if chosen is not None:
                    _, name, role, lasts = values
                    chosen.said = None
                    say(chosen, Refresh(f"refresh{number}", token(name, role, lasts)))
                case "drop" if chosen is not None and chosen.membership is not None:
                    chosen.membership.detach()
                    chosen.membership, chosen.is_dropped = None, True
                case "revoke":
                    name, seconds = values
                    ends = model.wall() + seconds
                    hall.revoke(name, until=ends)
                    model.revoked[name] = ends if seconds else 0.0
                    if seconds:
                        put_out(name, None)
                case "kick":
                    hall.kick(*values[:1], gathering_id=values[1])
                    put_out(*values)
                case "role":
                    name, role, room, seconds = values
                    ends = None if seconds is None else model.wall() + seconds
                    before = hall.change_role(name, role, gathering_id=room, until=ends)
                    if ends is not None:
                        model.roles[name, room] = role, ends if seconds else 0.0
                    concerned = 0
                    for one in model.conns:
                        if one.user == name and room in (None, one.room):
                            one.said = role if one.has_begun and one.role is None else None
                            if one.is_dropped and one.role is not None:
                                # The client isn't told, but its waiting requests are judged by the
                                # new role.
                                one.role = role
                            is_in = one.role is not None and not one.closed and not one.is_dropped
                            concerned += is_in and not one.is_out
                            if is_in:
                                assert one.role == role, "it is told at once"
                    assert before == concerned
                case "wait":
                    await trio.sleep(values[0])
                case "set":
                    # Both see what has ended by now: a clock that is set back undoes no end.
                    hall._rights.terms.look()
                    model.look()
                    model.set_by += values[0]
                case "disperse":
                    nursery.start_soon(hall.disperse, values[0])
                case "slow":
                    store.trouble("append", "waits", seconds=values[0])

    def check_answers() -> None:
        for one in model.conns:
            # If the connection lives, all its requests are answered.
            if not (one.closed or one.is_out or one.is_dropped):
                assert set(one.answers) == set(one.asked)

    async def live() -> None:
        store = slow_store(seconds=0.0)
        async with (
            open_hall(
                store=store,
                behaviour=behaviour,
                authenticate=authenticate,
                wall_clock=model.wall,
                idle_timeout=30.0,
                tail_bytes=200,
                rights_grace=2.0,
            ) as hall,
            trio.open_nursery() as nursery,
        ):
            await play(hall, nursery, store)
            store.trouble("append", "waits")
            await trio.sleep(200)
            assert hall.gatherings() == ()
            check_answers()
            assert model.wrong == []
            rights = hall._rights
            assert not len(rights.terms)
            assert not rights._asking
            assert not rights._checks
            assert not hall._registry.refreshes._under_way
            gone = [weakref.ref(one) for one in model.conns]
            model.conns.clear()
            gc.collect()
            assert [ref for ref in gone if ref() is not None] == []

    def say(conn: Conn, message: Any) -> None:
        assert conn.membership is not None
        if not isinstance(message, Ack):
            conn.asked.append(message.id)
        try:
            conn.membership.deliver_nowait(message)
        except trio.WouldBlock:
            conn.asked.pop()

    def put_out(user: str, room: str | None) -> None:
        for one in model.conns:
            if one.user == user and room in (None, one.room) and one.role is not None:
                one.is_out = True

    with suppress(GatheringCrashed):
        trio.run(live, clock=MockClock(autojump_threshold=0))
