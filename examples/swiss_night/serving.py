"""The program: a hall of tournaments, and its web application, which end together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from examples.serving import serve_site
from examples.swiss_night.behaviour import SwissNight
from examples.swiss_night.door import Door
from examples.swiss_night.site import application
from squire_gatherings import Hall, open_hall, serve


@asynccontextmanager
async def open_site(
    door: Door, *, host: str, port: int, store: str, idle: float
) -> AsyncIterator[tuple[Hall, str]]:
    """Serve tournaments for as long as the block lasts; give the hall and the site's URL.

    A tournament ends when nobody has used it for `idle` seconds, and everybody is told. All of it
    is in the store, so the next touch wakes it as it was.
    """
    opened = open_hall(
        store=store,
        behaviour=SwissNight,
        authenticate=door.authenticate,
        idle_timeout=idle,
        warn_before=idle / 4,
    )
    async with (
        opened as hall,
        serve_site(hall, application(hall, door), host, port) as url,
    ):
        yield hall, url


@asynccontextmanager
async def open_gatherings(door: Door) -> AsyncIterator[str]:
    """Serve tournaments without the site, by the library's own server; give its URL."""
    async with (
        open_hall(store="memory:", behaviour=SwissNight, authenticate=door.authenticate) as hall,
        trio.open_nursery() as nursery,
    ):
        server = await nursery.start(partial(serve, hall, host="127.0.0.1", port=0))
        host, port = server.addresses[0]
        yield f"ws://{host}:{port}"
        nursery.cancel_scope.cancel()


async def serve_night(
    door: Door, gathering: str, code: str, *, host: str, port: int, store: str, idle: float
) -> None:
    """Serve until it is interrupted; say where."""
    async with open_site(door, host=host, port=port, store=store, idle=idle) as (_, url):
        at = f"{url}/#{gathering}"
        print(f"Swiss night is on. A tournament falls asleep after {idle:g} s without a touch.")
        print(f"  players and observers   {at}")
        print(f"  judges                  {at}&code={code}")
        print(f"  200 players of a script make example ARGS='play --url {url} --code {code}'")
        print("Ctrl-C ends it.", flush=True)
        await trio.sleep_forever()


def key_file(store: str) -> Path:
    """Return where the key is that signs tokens: beside the store's file, if it has one."""
    path = store.removeprefix("sqlite:///")
    return Path(path if path != store else "swiss_night").with_suffix(".key")
