"""A nursery for the background tasks of a context manager, hidden from the manager's user."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_hidden_nursery() -> AsyncIterator[trio.Nursery]:
    """Open a nursery; what the block raises comes out as it is, not in an exception group.

    Leaving the block waits for the tasks and doesn't cancel them, even when the block raises:
    cancelling is the block's own work. What a task raises comes out in a group, as with any
    nursery. If the block has raised, too, its error is the first in that group.

    Cancellation: as with any nursery.
    """
    failure: BaseException | None = None
    try:
        try:
            async with trio.open_nursery() as nursery:
                try:
                    yield nursery
                except BaseException as error:
                    failure = error
        except BaseException as error:
            own, theirs = _uncancelled(failure), _uncancelled(error)
            if own is None:
                raise
            if isinstance(theirs, BaseExceptionGroup):
                raise BaseExceptionGroup(theirs.message, [own, *theirs.exceptions]) from None
            raise own from None
        if failure is not None:
            if trio.current_effective_deadline() > trio.current_time():
                # The nursery itself was cancelled, by its user: that ends here.
                failure = _uncancelled(failure)
            if failure is not None:
                raise failure
    finally:
        del failure


def _uncancelled(error: BaseException | None) -> BaseException | None:
    """Return what is left of an error without the cancellations in it."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1]
    return None if isinstance(error, trio.Cancelled) else error
