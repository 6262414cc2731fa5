"""Embedding: `open_hall` for other programs, with the store named by a URL if they like."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Unpack

from squire_gatherings._hall.authentication import Authenticate, admit_everybody
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.hall import open_hall as open_hall_with
from squire_gatherings._hall.store import Store
from squire_gatherings._rules.behaviour import Behaviour, LogBehaviour
from squire_gatherings._stores import open_store
from squire_gatherings._values.settings import HallOptions


@asynccontextmanager
async def open_hall(
    *,
    store: Store | str = "memory:",
    behaviour: Callable[[], Behaviour] = LogBehaviour,
    authenticate: Authenticate = admit_everybody,
    **settings: Unpack[HallOptions],
) -> AsyncIterator[Hall]:
    """Open a hall, and its store if that is given as a URL (see `open_store`).

    Every field of `HallSettings` is a keyword argument. Raises `BadSetting`, and for a
    URL what `open_store` raises. Leaving the block disperses every gathering with a
    notice, within `close_grace` seconds, also when cancelled.
    """
    async with AsyncExitStack() as stack:
        if isinstance(store, str):
            store = await stack.enter_async_context(open_store(store))
        hall = await stack.enter_async_context(
            open_hall_with(store=store, behaviour=behaviour, authenticate=authenticate, **settings)
        )
        yield hall
