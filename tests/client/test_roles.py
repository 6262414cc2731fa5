"""Roles that a program defines: server and client judge by the same ones."""

from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._rules.behaviour import Submission
from squire_gatherings._values.errors import Forbidden, OpRejected
from squire_gatherings._values.identity import Identity, Role
from squire_gatherings._values.op import Op
from tests.client.world import a_world
from tests.support import Sum
from tests.ways_in.streams import StreamWay, over_every_way

ROOM = "friday-night"


class Refereed(Sum):
    """Players add; only a judge takes away."""

    serves_snapshots = False

    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        for op in ops:
            if op.value["add"] < 0 and submission.identity.role != "judge":
                raise OpRejected("only a judge takes away")
        return ops


async def authenticate(token: str | None, gathering_id: str) -> Identity:
    assert token is not None
    user, role = token.split(":")
    return Identity(user, role)


@over_every_way
@pytest.mark.parametrize("role", ["judge", "player", Role.MEMBER, Role.OBSERVER])
async def test_a_role_is_told_and_judged_by_on_both_sides(
    role: str, way: StreamWay, autojump_clock: MockClock
) -> None:
    settings = {"token": f"bob:{role}"}
    async with (
        a_world(way, behaviour=Refereed, authenticate=authenticate, client_settings=settings) as (
            world,
            client,
        ),
        client.join(ROOM, behaviour=Refereed, optimistic=True) as gathering,
    ):
        assert world.hall is not None
        assert gathering.role == role
        await world.hall.submit(ROOM, [{"add": 5}])
        while gathering.seq < 1:
            await wait_all_tasks_blocked()
            await trio.sleep(0.01)
        shown = {}

        async def take_away() -> None:
            if role == "judge":
                assert await gathering.submit({"add": -2}) == 2
                return
            with pytest.raises(Forbidden if role == Role.OBSERVER else OpRejected):
                await gathering.submit({"add": -2})

        async with trio.open_nursery() as nursery:
            await wait_all_tasks_blocked()
            nursery.start_soon(take_away)
            while not gathering.unanswered:
                await trio.lowlevel.checkpoint()
            # The server has said nothing yet.
            shown = gathering.snapshot()
        expected = {"total": 3 if role == "judge" else 5}
        assert shown == expected
        assert gathering.snapshot() == expected
