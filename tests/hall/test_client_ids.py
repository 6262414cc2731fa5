"""A client's id is a secret, and useless to anybody but its user."""

import logging
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings import BadRequest, Identity, Join, open_hall
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.identity import ANONYMOUS
from squire_gatherings._values.messages import Error, Fetch, Joined, Leave, Refresh, Sync, Synced
from squire_gatherings._values.op import Op
from tests.support import Recorder, logged

ROOM = "friday-night"
SECRET = "s3cr3t-and-of-enough-length"
OPS = (Op.of({"n": 1}),)

STRANGERS = [
    (Identity("alice"), Identity("eve")),
    (Identity("alice"), ANONYMOUS),
    (ANONYMOUS, Identity("eve")),
    # These names would be the same if they were only joined together.
    (Identity("alice"), Identity(f"5:alice:{SECRET}"[:7])),
    (Identity("a:b"), Identity("a")),
]


@pytest.mark.parametrize(("owner", "stranger"), STRANGERS)
async def test_a_stranger_with_the_same_client_id_is_a_client_of_its_own(
    owner: Identity, stranger: Identity, autojump_clock: MockClock
) -> None:
    async with open_hall() as hall:
        mine, theirs = Recorder(), Recorder()
        owned = await hall.join(ROOM, mine, client=SECRET, identity=owner)
        await owned.deliver(Sync("s", 0, OPS))
        await mine.wait_for(Synced)
        strange = await hall.join(ROOM, theirs, client=SECRET, identity=stranger)
        await wait_all_tasks_blocked()
        assert not mine.closed, "it takes nobody's place"
        assert hall.snapshot().clients == 2
        # Another client's sync id means nothing: this is a new sync, with its own ops.
        await strange.deliver(Sync("s", 1, (Op.of({"n": 2}),)))
        await wait_all_tasks_blocked()
        assert [one.seqs for one in theirs.of(Synced)] == [(2,)]
        assert theirs.of(Error) == []
        # The owner is still answered as before.
        await owned.deliver(Sync("s", 0, OPS))
        await wait_all_tasks_blocked()
        assert [one.seqs for one in mine.of(Synced)] == [(1,), (1,)]


@pytest.mark.parametrize("recent_syncs", [1, 100])
async def test_what_a_stranger_hears_is_the_same_for_ids_that_exist_and_that_dont(
    recent_syncs: int, autojump_clock: MockClock
) -> None:
    """The same holds if the store must be asked, and after the gathering restarts."""
    async with open_hall(recent_syncs=recent_syncs, tail_bytes=1) as hall:
        owned = await hall.join(ROOM, Recorder(), client=SECRET, identity=Identity("alice"))
        for number in range(5):
            await owned.deliver(Sync(f"s{number}", number, OPS))
        await wait_all_tasks_blocked()
        await hall.disperse(ROOM)
        theirs = Recorder()
        strange = await hall.join(ROOM, theirs, client=SECRET, identity=Identity("eve"))
        for number in range(10):
            await strange.deliver(Sync(f"s{number}", 5 + number, (Op.of({"other": number}),)))
            await wait_all_tasks_blocked()
        await trio.sleep(1)
        assert [one.seqs for one in theirs.of(Synced)] == [(6 + number,) for number in range(10)]
        assert theirs.of(Error) == []


async def test_an_anonymous_client_is_known_by_its_id_alone(autojump_clock: MockClock) -> None:
    """So the id is told to nobody: it isn't in what others hear, in errors, or in logs."""
    async with open_hall() as hall:
        first, other = Recorder(), Recorder()
        await hall.join(ROOM, other)
        membership = await hall.join(ROOM, first, client=SECRET)
        await membership.deliver(Sync("s", 0, OPS))
        await wait_all_tasks_blocked()
        again = Recorder()
        await hall.join(ROOM, again, client=SECRET)
        assert [code for _, code, _ in first.closed] == [CloseCode.REPLACED]
        assert SECRET not in repr([*other.received, *first.received, *first.closed])
        made = [one.client for one in other.of(Joined)]
        assert len(made) == 1
        assert isinstance(made[0], str)
        assert len(made[0]) >= 16
        assert again.of(Joined)[0].client != SECRET


class Broken(Recorder):
    def send(self, outgoing: Any) -> None:
        raise OSError("broken")


async def test_no_log_and_no_repr_has_a_secret(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_hall() as hall:
        membership = await hall.join(ROOM, Recorder(), client=SECRET, token=SECRET)
        for message in (Sync("s", 0, OPS), Fetch("f"), Refresh("r", SECRET), Leave()):
            await membership.deliver(message)
        with pytest.raises(BadRequest) as refused:
            await membership.deliver(Join(token=SECRET, client=SECRET))
        await hall.join(ROOM, Broken(), client=SECRET)
        await wait_all_tasks_blocked()
        assert caplog.records, "the connection that failed"
        for shown in (
            repr(membership),
            repr(hall),
            str(refused.value),
            repr(Join(token=SECRET, client=SECRET)),
            repr(Refresh("r", SECRET)),
            logged(caplog),
        ):
            assert SECRET not in shown
    assert repr(Join(since=7)).startswith("Join(token=None, since=7, client=None")
