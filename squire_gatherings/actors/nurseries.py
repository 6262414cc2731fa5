"""A nursery for the tasks behind a context manager, of which the manager's user needn't know."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_hidden_nursery() -> AsyncIterator[trio.Nursery]:
    """Open a nursery; what the block raises comes out as it is, not in an exception group.

    Leaving the block waits for the tasks and doesn't cancel them, even when it raises:
    that is the block's own work. What a task raises comes out in a group, as ever.
    """
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except BaseException as error:
                failure = error
        if failure is not None:
            raise failure
    finally:
        del failure
