"""An admin port for tests: the real thing, on a socket of its own, and a client that asks it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import trio
from attrs import frozen

from squire_gatherings import Hall, open_hall
from squire_gatherings.admin import Admin, serve_admin

PATIENT: dict[str, Any] = {"trust_env": False, "verify": False, "timeout": 60}
"""No proxies, no certificates, and time enough for a busy machine."""


@frozen
class Port:
    """A hall, its admin port, and somebody who asks."""

    hall: Hall
    admin: Admin
    token: str
    client: httpx.AsyncClient
    """Brings the token."""
    stranger: httpx.AsyncClient
    """Brings none."""

    async def get(self, path: str, **query: Any) -> Any:
        """Return what is answered, which must be well."""
        answer = await self.client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, **body: Any) -> Any:
        """Return what is answered, which must be well."""
        answer = await self.client.post(path, json=body) if body else await self.client.post(path)
        assert answer.status_code == 200, answer.text
        return answer.json()


@asynccontextmanager
async def open_port(
    folder: Path, *, names: tuple[str, ...] = (), open_metrics: bool = False, **options: Any
) -> AsyncIterator[Port]:
    """Open a hall and its admin port until the block is left."""
    async with (
        open_hall(**options) as hall,
        serving(hall, folder, names=names, open_metrics=open_metrics) as port,
    ):
        yield port


@asynccontextmanager
async def serving(hall: Hall, folder: Path, **options: Any) -> AsyncIterator[Port]:
    """Open an admin port of this hall until the block is left."""
    file = folder / "token"
    async with trio.open_nursery() as nursery:
        serve = partial(serve_admin, hall, port=0, token_file=str(file), **options)
        admin: Admin = await nursery.start(serve)
        url = f"http://127.0.0.1:{admin.addresses[0][1]}"
        token = file.read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            httpx.AsyncClient(base_url=url, headers=headers, **PATIENT) as client,
            httpx.AsyncClient(base_url=url, **PATIENT) as stranger,
        ):
            yield Port(hall, admin, token, client, stranger)
        nursery.cancel_scope.cancel()
