"""The takeover: how a server begins that goes on for another process (`upgrade`)."""

import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress

import click
import trio

from squire_gatherings._cli.environment import TAKE_OVER
from squire_gatherings._cli.setup import Setup
from squire_gatherings._collector import uncollected
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.store import Store
from squire_gatherings._handover.arriving import NotOurs, Takeover, why_not
from squire_gatherings._handover.channel import Channel, Ended
from squire_gatherings._handover.messages import Refused
from squire_gatherings._handover.sharing import Shareable
from squire_gatherings._server.serving import Serving

_log = logging.getLogger(__name__)

MARGIN = 0.25
"""How many seconds the other process may take to hear that nothing comes of it."""


def find_takeover() -> Takeover | None:
    """Return the takeover from the process that has started this one for that, if one has."""
    text = os.environ.pop(TAKE_OVER, None)
    if text is None:
        return None
    try:
        return Takeover(Channel(socket.socket(fileno=int(text))))
    except (OSError, ValueError):
        raise click.UsageError(f"{TAKE_OVER} is for `upgrade` alone") from None


def refuse_takeover(why: str) -> None:
    """Tell the process that has started this one for a takeover why nothing comes of it."""
    with suppress(click.UsageError, Ended):
        takeover = find_takeover()
        if takeover is not None:
            takeover.channel.send_now(Refused(why), MARGIN)


async def finish(
    takeover: Takeover,
    hall: Hall,
    server: Serving,
    setup: Setup,
    store: Store,
    nursery: trio.Nursery,
) -> None:
    """Go on for another process. Raises `NotOurs`."""
    if not isinstance(store, Shareable):
        raise NotOurs("a store in memory can't be handed on")
    with uncollected():
        came = await takeover.finish(hall, server, setup.server, store, nursery)
    extra = {"connections": came, "pause": round(takeover.pause, 4)}
    _log.info("going on for another process", extra=extra)


@asynccontextmanager
async def taking_over(
    takeover: Takeover | None, *, tells_events: bool, has_admin: bool
) -> AsyncIterator[None]:
    """Begin a takeover, if there's one, and tell the other process if the block fails."""
    if takeover is None:
        yield
        return
    with closing(takeover.channel):
        await takeover.begin(tells_events=tells_events, has_admin=has_admin)
        try:
            yield
        except BaseException as error:
            with trio.move_on_after(MARGIN, shield=True):
                await takeover.refuse(why_not(error))
            raise
