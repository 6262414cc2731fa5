"""Sockets of the doctor: WebSocket connections to a server, directly or through its proxy."""

import secrets
import ssl as tls
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.typing import Origin, Subprotocol

from squire_gatherings._wire.codecs import JSON

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

PATIENCE = 10.0
"""How many seconds a connection may take to open."""


class CannotOpen(Exception):
    """The WebSocket doesn't open; says why."""


def new_gathering() -> str:
    """Return the id of a gathering that nobody else uses."""
    return f"doctor-{secrets.token_hex(8)}"


@contextmanager
def open_socket(
    url: str,
    *,
    gathering_id: str | None = None,
    origin: str | None = None,
    source: str | None = None,
    ssl: tls.SSLContext | None = None,
) -> Iterator["ClientConnection"]:
    """Open a connection to a gathering, until the block is left. Without a join that opens none.

    Args:
        url: Of the server: `wss://HOST`, perhaps with a path.
        gathering_id: Of the gathering; None for one that nobody else uses.
        origin: From which web page it comes.
        source: The address of this machine that it comes from.
        ssl: How the server is told from others; None for as usual.

    Raises:
        CannotOpen: There's no server of ours, or it doesn't let this in.
    """
    # Not for `serve`, which loads this module with all other commands.
    from websockets.sync.client import connect

    more: dict[str, Any] = {} if source is None else {"source_address": (source, 0)}
    if ssl is not None:
        more["ssl"] = ssl
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(
                connect(
                    f"{url.rstrip('/')}/gatherings/{gathering_id or new_gathering()}",
                    subprotocols=[Subprotocol(JSON.subprotocol)],
                    origin=None if origin is None else Origin(origin),
                    proxy=None,
                    open_timeout=PATIENCE,
                    close_timeout=1.0,
                    compression=None,
                    **more,
                )
            )
        except InvalidStatus as error:
            status = error.response.status_code
            raise CannotOpen(f"it answers with HTTP {status}") from None
        except tls.SSLCertVerificationError as error:
            raise CannotOpen(f"its certificate isn't good: {error.verify_message}") from None
        except (WebSocketException, OSError, ValueError, EOFError) as error:
            # Also one that closes while we shake hands.
            why = " ".join(str(error).split())[:300] or type(error).__name__
            raise CannotOpen(why) from None
        if connection.subprotocol != JSON.subprotocol:
            raise CannotOpen("a WebSocket opens, but not of a squire_gatherings server")
        yield connection


def unverified(url: str) -> tls.SSLContext | None:
    """Return what takes any certificate; None where there is none."""
    if not url.startswith("wss:"):
        return None
    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = tls.CERT_NONE
    return context
