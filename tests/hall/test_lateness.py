"""Attempts under a time limit are made again if the process was held up."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._hall.lateness import (
    HELD_UP,
    LEAST_TURNS,
    TURNS,
    WITHIN,
    TookTooLong,
    attempt_within,
    give_turns,
)


async def test_what_comes_in_time_is_returned(autojump_clock: MockClock) -> None:
    async def attempt() -> str:
        await trio.sleep(9)
        return "done"

    assert await attempt_within(10, attempt) == "done"


async def test_what_takes_longer_is_cancelled_once(autojump_clock: MockClock) -> None:
    began: list[float] = []

    async def attempt() -> None:
        began.append(trio.current_time())
        await trio.sleep(11)

    start = trio.current_time()
    with pytest.raises(TookTooLong):
        await attempt_within(10, attempt)
    assert began == [start]
    assert trio.current_time() == start + 10


async def test_an_error_of_the_attempt_is_no_timeout(autojump_clock: MockClock) -> None:
    async def attempt() -> None:
        with trio.fail_after(5):
            await trio.sleep(9)

    with pytest.raises(trio.TooSlowError):
        await attempt_within(10, attempt)


@pytest.mark.parametrize(("late", "attempts"), [(HELD_UP - 0.1, 1), (HELD_UP + 0.1, 2)])
async def test_an_attempt_that_was_held_up_is_made_again(
    late: float, attempts: int, mock_clock: MockClock
) -> None:
    began: list[float] = []
    failed = trio.Event()

    async def attempt() -> None:
        began.append(trio.current_time())
        await trio.sleep_forever()

    async def make() -> None:
        with pytest.raises(TookTooLong):
            await attempt_within(10, attempt)
        failed.set()

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(make)
        await wait_all_tasks_blocked()
        mock_clock.jump(10 + late)
        await wait_all_tasks_blocked()
        assert failed.is_set() is (attempts == 1)
        if attempts == 2:
            # The second attempt has as much time as the first, and is judged on time.
            mock_clock.jump(10)
            await failed.wait()
            assert began == [start, start + 10 + late]


async def test_cancelling_ends_the_attempt(autojump_clock: MockClock) -> None:
    cancelled = False

    async def attempt() -> None:
        nonlocal cancelled
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            cancelled = True
            raise

    start = trio.current_time()
    with trio.move_on_after(1) as scope:
        await attempt_within(10, attempt)
    assert scope.cancelled_caught
    assert cancelled
    assert trio.current_time() == start + 1


@pytest.mark.parametrize(
    ("each", "turns"),
    [(0.0, TURNS), (WITHIN / 100, 100), (WITHIN / 10, LEAST_TURNS), (3.0, LEAST_TURNS)],
)
async def test_fewer_turns_are_given_where_they_take_long(
    each: float, turns: int, mock_clock: MockClock
) -> None:
    """An overloaded server took a second for 128 of them, and gatherings ended as late as that."""
    taken = 0

    async def burden() -> None:
        nonlocal taken
        while True:
            mock_clock.jump(each)
            taken += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(burden)
        await trio.lowlevel.checkpoint()
        taken = 0
        async with trio.open_nursery() as waiting:
            # The tasks share the same turns, so two more change little.
            for _ in range(3):
                waiting.start_soon(give_turns, trio.current_time())
        assert turns - 6 <= taken <= turns + 6
        nursery.cancel_scope.cancel()
