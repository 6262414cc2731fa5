"""Rights that end, and are renewed, while a client is connected."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings import (
    AuthenticationUnavailable,
    Identity,
    Unauthorized,
    open_hall,
)
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.messages import (
    Ack,
    Dispersed,
    Ending,
    Error,
    Fetch,
    Joined,
    Leave,
    Refresh,
    Refreshed,
    Renew,
    Sync,
    Synced,
)
from tests.hall.rights import DAY_ONE, OP, ROOM, a_hall, asked, by_token, closings, joined
from tests.support import Recorder, slow_store

# Rights that end.


async def test_rights_end_on_time_and_then_the_connection(autojump_clock: MockClock) -> None:
    async with a_hall(idle_timeout=1000.0) as (hall, _):
        start = trio.current_time()
        membership, alice = await joined(hall, "alice:member:600")
        bob, other = await joined(hall, "bob:member:")
        [told] = alice.of(Joined)
        assert told.rights_expire_in == pytest.approx(600)
        await trio.sleep_until(start + 599.5)
        await asked(membership, Sync("in time", 0, OP))
        assert [one.id for one in alice.of(Synced)] == ["in time"]
        [(asked_at, renew)] = [one for one in alice.received if isinstance(one[1], Renew)]
        assert asked_at - start == pytest.approx(540)
        assert isinstance(renew, Renew)
        assert renew.rights_expire_in == pytest.approx(60)
        await trio.sleep_until(start + 600)
        await wait_all_tasks_blocked()
        deadline = hall.snapshot().gatherings[0].deadline
        await trio.sleep(1)
        for message in (Sync("late", 0, OP), Fetch("late too", 0), Ack(0)):
            await asked(membership, message)
        assert [(one.code, one.id) for one in alice.of(Error)] == [
            ("unauthorized", "late"),
            ("unauthorized", "late too"),
        ]
        assert hall.snapshot().gatherings[0].deadline == deadline, "it's no activity"
        await hall.submit(ROOM, [{"n": 2}])
        await wait_all_tasks_blocked()
        assert {seq for _, seq, _, _ in other.forwards()} == {1, 2}
        await asked(bob, Ack(2))
        assert alice.forwards() == [], "it may not read, either"
        await trio.sleep_until(start + 620)
        [(at, code)] = closings(alice)
        assert at - start == pytest.approx(610)
        assert code == CloseCode.UNAUTHORIZED
        assert hall.snapshot().clients == 1
        assert not other.closed


async def test_a_client_without_rights_may_leave(autojump_clock: MockClock) -> None:
    async with a_hall() as (hall, _):
        membership, alice = await joined(hall, "alice:member:5")
        await trio.sleep(5.1)
        await asked(membership, Leave())
        assert [code for _, code in closings(alice)] == [CloseCode.LEFT]
        await trio.sleep(20)
        assert len(alice.closed) == 1
        with pytest.raises(Unauthorized):
            await joined(hall, "alice:member:5")


@pytest.mark.parametrize("how", ["judged", "committed"])
async def test_a_clock_that_is_set_leaves_no_rights_open(
    how: str, autojump_clock: MockClock
) -> None:
    async with a_hall() as (hall, wall):
        membership, alice = await joined(hall, "alice:member:600")
        await wait_all_tasks_blocked()
        wall.at_zero = DAY_ONE + 3600.0
        if how == "judged":
            await asked(membership, Sync("late", 0, OP))
            assert [one.code for one in alice.of(Error)] == ["unauthorized"]
        else:
            await hall.submit(ROOM, [{"n": 1}])
            await wait_all_tasks_blocked()
            assert alice.forwards() == []
        # Setting it back doesn't restore them.
        wall.at_zero = DAY_ONE - 3600.0
        await asked(membership, Sync("too late", 0, OP))
        assert alice.of(Error)[-1].id == "too late"
        assert (await hall.fetch(ROOM)).seq == (how == "committed")


async def test_a_clock_that_is_set_is_seen_soon(autojump_clock: MockClock) -> None:
    async with a_hall() as (hall, wall):
        _, alice = await joined(hall, "alice:member:86400")
        await trio.sleep(1)
        wall.at_zero = DAY_ONE + 86400.0
        await trio.sleep(60)
        assert [code for _, code in closings(alice)] == [CloseCode.UNAUTHORIZED]


async def test_rights_that_end_together_with_others_end_on_time(autojump_clock: MockClock) -> None:
    async with a_hall(idle_timeout=10_000.0) as (hall, _):
        many = [(await joined(hall, f"u{number}:member:100"))[1] for number in range(100)]
        for number in range(60):
            membership, _ = await joined(hall, f"gone{number}:member:5000")
            membership.detach()
        await trio.sleep(50)
        # Zoe's rights end while the others' connections are closed, and fewer and fewer are left.
        _, zoe = await joined(hall, "zoe:member:110")
        await trio.sleep(100)
        for recorder in many:
            assert len(recorder.of(Renew)) == 1
            [(at, _)] = closings(recorder)
            assert at == pytest.approx(110)
        [(at, _)] = closings(zoe)
        assert at == pytest.approx(120)
        assert len(hall._rights.terms) == 0


# Renewal.


async def test_a_refresh_renews_and_brings_what_was_missed(autojump_clock: MockClock) -> None:
    async with a_hall() as (hall, _):
        membership, alice = await joined(hall, "alice:member:5")
        await trio.sleep(6)
        await hall.submit(ROOM, [{"n": 1}])
        await hall.submit(ROOM, [{"n": 2}])
        before = hall.snapshot().gatherings[0].deadline
        await trio.sleep(1)
        await asked(membership, Refresh("r", "alice:judge:100"))
        assert [(one.id, one.role) for one in alice.of(Refreshed)] == [("r", "judge")]
        assert alice.of(Refreshed)[0].rights_expire_in == pytest.approx(93)
        assert hall.snapshot().gatherings[0].deadline == before, "it's no activity"
        assert [seq for _, seq, _, _ in alice.forwards()] == [1, 2]
        assert membership.identity.role == "judge"
        await asked(membership, Ack(2))
        await asked(membership, Sync("s", 2, OP))
        assert [one.seqs for one in alice.of(Synced)] == [(3,)]
        await trio.sleep(80)
        assert not alice.closed
        await asked(membership, Refresh("for ever", "alice:judge:"))
        assert alice.of(Refreshed)[-1] == Refreshed("judge", "for ever")
        await trio.sleep(3600)
        assert not alice.closed


async def test_what_was_judged_before_the_end_is_answered(autojump_clock: MockClock) -> None:
    async with a_hall(store=slow_store()) as (hall, _):
        membership, alice = await joined(hall, "alice:member:5")
        await trio.sleep(4.5)
        await asked(membership, Sync("s", 0, OP))
        await trio.sleep(1.1)
        assert [one.seqs for one in alice.of(Synced)] == [(1,)]
        # Its answer waits behind an op that it may not read, until it may.
        await asked(membership, Refresh("r", "alice:member:20"))
        await trio.sleep_until(19.5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hall.submit, ROOM, [{"n": 2}])
            await wait_all_tasks_blocked()
            await membership.deliver(Sync("t", 1, OP))
        await trio.sleep(2)
        assert alice.forwards() == []
        assert len(alice.of(Synced)) + len(alice.of(Error)) == 2
        await asked(membership, Refresh("q", "alice:member:"))
        assert [seq for _, seq, _, _ in alice.forwards()] == [2]


async def test_an_answer_that_is_held_back_holds_off_no_closing(
    autojump_clock: MockClock,
) -> None:
    async with a_hall(store=slow_store()) as (hall, _):
        membership, alice = await joined(hall, "alice:member:5")
        await trio.sleep_until(4.5)
        async with trio.open_nursery() as nursery:
            # Its op follows another client's, and it may not read that one any more when both are
            # durable.
            nursery.start_soon(hall.submit, ROOM, [{"n": 1}])
            await wait_all_tasks_blocked()
            await membership.deliver(Sync("s", 0, OP))
            await trio.sleep_until(4.9)
            assert (await hall.fetch(ROOM)).seq == 1
        await trio.sleep_until(30)
        assert [at for at, _ in closings(alice)] == [pytest.approx(15)]


async def test_a_refresh_brings_the_warning_that_was_missed(autojump_clock: MockClock) -> None:
    async with a_hall(idle_timeout=100.0, warn_before=10.0) as (hall, _):
        membership, alice = await joined(hall, "alice:member:88")
        await trio.sleep(91)
        assert alice.of(Ending) == []
        await asked(membership, Refresh("r", "alice:member:1000"))
        assert [(one.rule, one.expires_in) for one in alice.of(Ending)] == [("idle", 9.0)]


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("bob:member:", "forbidden"),
        ("alice:member:1", "unauthorized"),
        ("nonsense", "internal"),
        ("refused", "unauthorized"),
        ("later", "authentication_unavailable"),
        ("slow", "authentication_unavailable"),
    ],
)
async def test_a_refresh_that_fails_changes_nothing(
    token: str, code: str, autojump_clock: MockClock
) -> None:
    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        if token == "refused":
            raise Unauthorized("no")
        if token == "later":
            raise AuthenticationUnavailable("later")
        if token == "slow":
            await trio.sleep_forever()
        return await by_token(token, gathering_id)

    async with a_hall(authenticate=authenticate, authenticate_timeout=3.0) as (hall, _):
        membership, alice = await joined(hall, "alice:judge:60")
        await trio.sleep(2)
        await membership.deliver(Refresh("r", token))
        await trio.sleep(4)
        assert [(one.code, one.id) for one in alice.of(Error)] == [(code, "r")]
        assert alice.of(Refreshed) == []
        assert membership.identity == Identity("alice", "judge", DAY_ONE + 60)
        await asked(membership, Sync("s", 0, OP))
        assert [one.id for one in alice.of(Synced)] == ["s"]


async def test_no_token_changes_an_identity_that_the_program_gave(
    autojump_clock: MockClock,
) -> None:
    """The default check takes every client as an anonymous member."""
    async with open_hall() as hall:
        recorder = Recorder()
        membership = await hall.join(ROOM, recorder, identity=Identity(None, "observer"))
        await asked(membership, Refresh("r", "please"))
        assert [(one.code, one.id) for one in recorder.of(Error)] == [("forbidden", "r")]
        assert membership.identity.role == "observer"


async def test_one_token_at_a_time_is_checked(autojump_clock: MockClock) -> None:
    checks = 0

    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        nonlocal checks
        checks += 1
        await trio.sleep(1)
        return Identity("alice")

    async with a_hall(authenticate=authenticate) as (hall, _):
        membership, alice = await joined(hall, "")
        for number in range(5):
            await membership.deliver(Refresh(f"r{number}", ""))
        await trio.sleep(2)
        assert checks == 2
        assert [one.id for one in alice.of(Refreshed)] == ["r0"]
        assert [(one.code, one.id) for one in alice.of(Error)] == [
            ("rate_limited", f"r{number}") for number in range(1, 5)
        ]


@pytest.mark.parametrize("what", ["disperse", "detach", "leave", "kick", "nothing"])
async def test_a_refresh_is_answered_once_whatever_ends_meanwhile(
    what: str, autojump_clock: MockClock
) -> None:
    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        await trio.sleep(1)
        return Identity("alice")

    async with a_hall(authenticate=authenticate) as (hall, _):
        membership, alice = await joined(hall, "")
        await asked(membership, Refresh("r", ""))
        match what:
            case "disperse":
                await hall.disperse(ROOM)
                assert len(alice.of(Dispersed)) == 1
            case "detach":
                membership.detach()
            case "leave":
                # Its earlier requests are answered before.
                await asked(membership, Leave())
                assert not alice.closed
            case "kick":
                assert hall.kick("alice") == 1
        await trio.sleep(5)
        answered = what in ("leave", "nothing")
        assert [one.id for one in alice.of(Refreshed)] == ["r"] * answered
        assert alice.of(Error) == []
        assert bool(alice.closed) == (what in ("disperse", "leave", "kick"))


async def test_a_token_that_is_being_checked_holds_off_the_closing(
    autojump_clock: MockClock,
) -> None:
    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        await trio.sleep(20)
        return Identity("alice", expires_at=DAY_ONE + trio.current_time() + 30)

    async with a_hall(authenticate=authenticate, idle_timeout=1000.0) as (hall, _):
        membership, alice = await joined(hall, "")
        await trio.sleep(39)
        await asked(membership, Refresh("r", ""))
        await trio.sleep(20.5)
        assert [one.id for one in alice.of(Refreshed)] == ["r"]
        assert not alice.closed
