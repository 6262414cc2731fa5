"""Settings of a running hall that are changed: what is open keeps its own; what all share, not."""

from typing import Any

import pytest
import trio

from squire_gatherings import BadSetting, Full, HallSettings, Identity, open_hall
from squire_gatherings._values.messages import Dispersed, Error, Sync, Synced
from squire_gatherings._values.op import Op
from tests.support import Recorder


async def test_gatherings_opened_from_now_on_have_them(autojump_clock: trio.abc.Clock) -> None:
    async with open_hall(idle_timeout=10) as hall:
        old, new = Recorder(), Recorder()
        await hall.join("old", old)
        hall.change_settings(idle_timeout=3)
        assert hall.settings == HallSettings(idle_timeout=3)
        await hall.join("new", new)
        await new.wait_closed()
        assert trio.current_time() == 3
        await old.wait_closed()
        assert trio.current_time() == 10
        assert [one.reason for one in (*old.of(Dispersed), *new.of(Dispersed))] == ["idle"] * 2
        # The next incarnation has the new ones, too.
        await hall.open("old")
        [numbers] = hall.snapshot().gatherings
        assert numbers.deadline == 13


async def test_what_is_counted_for_all_changes_at_once() -> None:
    alice = Identity("alice")
    async with open_hall() as hall:
        await hall.join("a", Recorder(), identity=alice)
        hall.change_settings(max_gatherings=1)
        with pytest.raises(Full):
            await hall.open("b")
        hall.change_settings(max_gatherings=2, max_connections_per_user=1)
        with pytest.raises(Full):
            await hall.join("a", Recorder(), identity=alice)
        hall.change_settings(max_connections_per_user=None, max_connections_per_gathering=1)
        with pytest.raises(Full):
            await hall.join("a", Recorder())
        hall.change_settings(max_connections_per_gathering=2)
        await hall.join("a", Recorder())
        # Nobody is put out for it.
        hall.change_settings(max_connections_per_gathering=1, max_memory=1, max_gatherings=None)
        assert hall.snapshot().clients == 2
        with pytest.raises(Full, match="memory"):
            await hall.open("b")
        hall.change_settings(max_memory=None)
        await hall.open("b")


async def test_a_repeated_sync_was_applied_however_many_ops_one_may_have_now() -> None:
    async with open_hall(max_ops=3) as hall:
        one, sync = Recorder(), Sync("7", 0, (Op.of({"n": 1}),) * 3)
        membership = await hall.join("a", one, client="c")
        await membership.deliver(sync)
        await one.wait_for(Synced)
        hall.change_settings(max_ops=2)
        again = Recorder()
        membership = await hall.join("a", again, client="c")
        await membership.deliver(sync)
        await membership.deliver(Sync("8", 3, sync.ops))
        await again.wait_for(Error)
        assert [one.seqs for one in again.of(Synced)] == [(1, 2, 3)]
        assert [(one.code, one.id) for one in again.of(Error)] == [("too_big", "8")]


@pytest.mark.parametrize(
    "changes",
    [
        {"idle_timeout": 0},
        {"max_gatherings": 0},
        {"when_full": "panic"},
        {"when_full": "stalest"},
        {"authenticate_timeout": 1},
        {"max_remembered": 1},
    ],
)
async def test_what_cannot_be_changes_nothing(changes: dict[str, Any]) -> None:
    async with open_hall() as hall:
        before = hall.settings
        with pytest.raises(BadSetting):
            hall.change_settings(close_grace=1, **changes)
        with pytest.raises(TypeError):
            hall.change_settings(idle_timeut=1)  # type: ignore[call-arg]
        assert hall.settings is before
        hall.change_settings(when_full="refuse", max_remembered=before.max_remembered)
        assert hall.settings == before


async def test_rights_end_by_the_new_settings(autojump_clock: trio.abc.Clock) -> None:
    identity = Identity("alice", expires_at=100)
    async with open_hall(wall_clock=trio.current_time, rights_grace=10) as hall:
        hall.change_settings(rights_grace=3)
        one = Recorder()
        await hall.join("a", one, identity=identity)
        await one.wait_closed()
        assert trio.current_time() == 103
