"""A program gets decoded values that JSON has: no bytes, no classes of ours inside."""

from collections.abc import Sequence
from typing import Any

import trio
from trio.testing import MockClock

from squire_gatherings import Op, Stamp, Submission
from tests.client.world import ROOM, a_world
from tests.ways_in.streams import StreamWay, over_every_way

VALUE: dict[str, Any] = {"text": "é\u2028", "n": -1, "x": 1.5, "no": None, "yes": True, "l": [{}]}


class Last:
    """Its state is the last op."""

    serves_snapshots = True

    def __init__(self) -> None:
        self.last: Any = None

    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        return ops

    def fold(self, op: Op, stamp: Stamp) -> None:
        self.last = op.value

    def snapshot(self) -> Any:
        return {"last": self.last}

    def restore(self, snapshot: Any) -> None:
        self.last = snapshot["last"]


def kinds(value: Any) -> set[type]:
    """Return the types of all values inside a value."""
    if type(value) is dict:
        inside = [*value, *value.values()]
    elif type(value) is list:
        inside = value
    else:
        return {type(value)}
    return {type(value)}.union(*map(kinds, inside))


JSON = {dict, list, str, int, float, bool, type(None)}


@over_every_way
async def test_changes_and_snapshots_are_decoded(way: StreamWay, autojump_clock: MockClock) -> None:
    async with (
        a_world(way, behaviour=Last) as (_, client),
        client.join(ROOM, behaviour=Last) as alice,
        client.join(ROOM, behaviour=Last) as bob,
        client.join(ROOM, behaviour=None, since=0) as carol,
    ):
        assert await alice.submit(VALUE) == 1
        for reader in (bob, carol):
            with trio.fail_after(60):
                change = await anext(reader)
            assert change.op == VALUE
            assert kinds(change.op) == JSON
        # States that the client folded, and the one that its join brought.
        async with client.join(ROOM, behaviour=Last) as dave:
            for gathering in (alice, bob, dave):
                state = gathering.snapshot()
                assert state == {"last": VALUE}
                assert kinds(state) == JSON
                # The program gets a copy.
                state["last"]["n"] = 7
                assert gathering.snapshot() == {"last": VALUE}
