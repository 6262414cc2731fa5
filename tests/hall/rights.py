"""A hall whose users have rights that end, by a wall clock that a test may set."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from trio.testing import wait_all_tasks_blocked

from squire_gatherings import (
    Hall,
    Identity,
    Membership,
    Unauthorized,
    open_hall,
)
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.op import Op
from squire_gatherings.testing import WallClock
from tests.support import Recorder

ROOM = "friday-night"
DAY_ONE = 1_700_000_000.0
OP = (Op.of({"n": 1}),)


async def by_token(token: str | None, gathering_id: str) -> Identity:
    """`alice:judge:60`: alice is a judge for 60 seconds from the start of the test on."""
    if token is None:
        raise Unauthorized("show a token")
    user, role, seconds = token.split(":")
    return Identity(user, role, DAY_ONE + float(seconds) if seconds else None)


@asynccontextmanager
async def a_hall(**options: Any) -> AsyncIterator[tuple[Hall, WallClock]]:
    wall = WallClock(DAY_ONE)
    options.setdefault("authenticate", by_token)
    async with open_hall(wall_clock=wall, **options) as hall:
        yield hall, wall


async def joined(hall: Hall, token: str, **more: Any) -> tuple[Membership, Recorder]:
    recorder = Recorder()
    return await hall.join(ROOM, recorder, token=token, **more), recorder


async def asked(membership: Membership, message: Any) -> None:
    """Deliver a message, and wait until it is processed."""
    await membership.deliver(message)
    await wait_all_tasks_blocked()


def closings(recorder: Recorder) -> list[tuple[float, CloseCode]]:
    return [(at, code) for at, code, _ in recorder.closed]
