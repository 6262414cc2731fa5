"""Every public async call of a hall is a checkpoint, and does nothing when it comes too late."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints

from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.membership import Membership
from squire_gatherings._open_hall import open_hall
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.messages import Ack, Fetch, Leave, Sync
from squire_gatherings._values.op import Op
from tests.support import Recorder

ROOM = "friday-night"

Call = Callable[[Hall, Membership], Awaitable[Any]]

CALLS: dict[str, Call] = {
    "open": lambda hall, _: hall.open(ROOM),
    "open another": lambda hall, _: hall.open("another"),
    "join": lambda hall, _: hall.join(ROOM, Recorder()),
    "submit": lambda hall, _: hall.submit(ROOM, [{"n": 1}]),
    "fetch": lambda hall, _: hall.fetch(ROOM),
    "evict": lambda hall, _: hall.evict(ROOM),
    "evict nothing": lambda hall, _: hall.evict("nobody"),
    "disperse nothing": lambda hall, _: hall.disperse("nobody"),
    "disperse": lambda hall, _: hall.disperse(ROOM),
    "deliver ack": lambda _, membership: membership.deliver(Ack(0)),
    "deliver fetch": lambda _, membership: membership.deliver(Fetch("f")),
    "deliver leave": lambda _, membership: membership.deliver(Leave()),
    "deliver sync": lambda _, membership: membership.deliver(Sync("s", 0, (Op.of({"n": 1}),))),
    "close": lambda hall, _: hall.close(),
}


@pytest.mark.parametrize("name", CALLS)
async def test_every_call_is_a_checkpoint(name: str, autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        membership = await hall.join(ROOM, Recorder())
        with assert_checkpoints():
            await CALLS[name](hall, membership)


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_in_a_cancelled_scope_does_nothing(
    name: str, autojump_clock: MockClock
) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        membership = await hall.join(ROOM, Recorder())
        before = hall.snapshot()
        for _ in range(100):
            with trio.move_on_after(0) as scope:
                await CALLS[name](hall, membership)
            assert scope.cancelled_caught
        after = hall.snapshot()
        assert after.gatherings == before.gatherings
        assert (after.opened, after.dispersed) == (before.opened, before.dispersed)


async def test_calls_are_checkpoints_after_the_end_too(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        membership = await hall.join(ROOM, Recorder())
        await hall.close()
        for message in (Ack(0), Leave(), Sync("s", 0, (Op.of({"n": 1}),))):
            with assert_checkpoints():
                await membership.deliver(message)
        with assert_checkpoints():
            await hall.close()
        membership.detach()
        with assert_checkpoints():
            await membership.deliver(Ack(0))
