"""Certificates for tests, and a server that uses them."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio
import trustme

from squire_gatherings import Hall, Server, ServerSettings, open_hall, serve
from squire_gatherings._server.tls import TlsContext

AUTHORITY = trustme.CA()
"""Issues the certificates that the tests' clients trust."""


def write(folder: Path, name: str = "127.0.0.1") -> tuple[Path, Path]:
    """Write a new certificate and its key; return their paths."""
    made = AUTHORITY.issue_cert(name)
    certificate, key = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(b"".join(one.bytes() for one in made.cert_chain_pems))
    made.private_key_pem.write_to_path(str(key))
    return certificate, key


def trusting() -> ssl.SSLContext:
    """Return what a client needs to trust them."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


@asynccontextmanager
async def a_tls_server(
    context: TlsContext, settings: ServerSettings | None = None, **hall_settings: Any
) -> AsyncIterator[tuple[Hall, Server, str]]:
    """Serve a hall; give the hall, the server and the URL."""
    async with open_hall(**hall_settings) as hall, trio.open_nursery() as nursery:
        with trio.fail_after(60):
            server = await nursery.start(
                partial(
                    serve, hall, host="127.0.0.1", port=0, settings=settings, ssl_context=context
                )
            )
            yield hall, server, f"wss://127.0.0.1:{server.addresses[0][1]}"
            server.stop_accepting()
            await hall.close()
            await server.wait_empty()
        nursery.cancel_scope.cancel()
