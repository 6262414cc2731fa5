"""Hidden nurseries: no error of the block or of a task is ever lost."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from squire_gatherings._hall.nurseries import open_hidden_nursery


async def fail(error: BaseException, after: float = 0.0) -> None:
    await trio.sleep(after)
    raise error


async def test_the_blocks_own_error_comes_out_as_it_is() -> None:
    mine = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with open_hidden_nursery():
            raise mine
    assert caught.value is mine


async def test_a_tasks_error_comes_out_in_a_group() -> None:
    async def block() -> None:
        async with open_hidden_nursery() as nursery:
            nursery.start_soon(fail, ZeroDivisionError())
            await trio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await block()
    [theirs] = caught.value.exceptions
    assert isinstance(theirs, ZeroDivisionError)


@pytest.mark.parametrize("when", ["before", "meanwhile", "after"])
async def test_both_come_out_in_a_group(when: str, autojump_clock: MockClock) -> None:
    async def block() -> None:
        async with open_hidden_nursery() as nursery:
            nursery.start_soon(fail, ZeroDivisionError(), 1.0)
            if when == "after":
                raise KeyError("mine")
            try:
                await trio.sleep_forever()
            finally:
                if when == "meanwhile":
                    with trio.CancelScope(shield=True):
                        await trio.sleep(1)
                raise KeyError("mine")

    with pytest.raises(ExceptionGroup) as caught:
        await block()
    first, second = caught.value.exceptions
    assert isinstance(first, KeyError)
    assert isinstance(second, ZeroDivisionError)


async def test_what_a_block_raises_while_a_task_cancels_it_comes_without_the_cancellation() -> None:
    """The block has a nursery of its own, in which one task fails while it is cancelled."""

    async def clean_up_badly() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError("mine")

    async def block() -> None:
        async with open_hidden_nursery() as hidden, trio.open_nursery() as own:
            own.start_soon(clean_up_badly)
            own.start_soon(trio.sleep_forever)
            hidden.start_soon(fail, ZeroDivisionError())

    with pytest.raises(ExceptionGroup) as caught:
        await block()
    assert caught.value.split(KeyError)[0] is not None
    assert caught.value.split(ZeroDivisionError)[0] is not None
    assert "Cancelled" not in repr(caught.value)


async def test_a_time_limit_outside_is_kept(autojump_clock: MockClock) -> None:
    with trio.move_on_after(1) as scope:
        async with open_hidden_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_the_blocks_error_is_kept_when_what_it_waits_for_is_cancelled(
    autojump_clock: MockClock,
) -> None:
    async def block() -> None:
        async with open_hidden_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"), trio.move_on_after(1):
        await block()


async def test_a_cancelled_nursery_ends_its_block_and_no_more() -> None:
    async with open_hidden_nursery() as nursery:
        nursery.cancel_scope.cancel()
        await trio.sleep_forever()
    await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), StopAsyncIteration()])
async def test_no_kind_of_error_is_changed(error: Any) -> None:
    with pytest.raises(type(error)) as caught:
        async with open_hidden_nursery():
            raise error
    assert caught.value is error
