"""The opening handshake: from an HTTP request to a gathering's id and a codec, or a refusal."""

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from urllib.parse import unquote, urlsplit

import trio
from attrs import frozen
from websockets.exceptions import InvalidHeader, InvalidHeaderValue, SecurityError
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from squire_gatherings._hall.lateness import HELD_UP, time_limit
from squire_gatherings._server.sources import Source, Take
from squire_gatherings._values.errors import BadGatheringId
from squire_gatherings._values.handshake import TOKEN_IN_URL, HandshakeRequest, has_token_in_url
from squire_gatherings._values.ids import check_gathering_id
from squire_gatherings._values.origins import NOT_ALLOWED, OriginRule
from squire_gatherings._wire.codecs import CODECS, JSON, Codec
from squire_gatherings._wire.websockets_core import QUIET_LOG, quote, reason_of, retire

MAX_REQUEST_SIZE = 16 * 1024
MAX_IGNORED = 256 * 1024
"""How many bytes a client that was refused may still send, so that the refusal arrives."""

PREFIX = "/gatherings/"
_GET = b"GET "
_END = b"\r\n\r\n"
_NO_GET = "not a WebSocket request: it doesn't begin with GET"
RETRY_AFTER = ("Retry-After", "5")


class Refused(Exception):
    """The request doesn't get a WebSocket, but this `response`.

    `logged` is why, for the log: with nothing that the client said, in which a token may be.
    """

    def __init__(
        self,
        status: int,
        why: str,
        headers: Sequence[tuple[str, str]] = (),
        *,
        logged: str | None = None,
    ) -> None:
        super().__init__(why)
        self.status = status
        self.logged = why if logged is None else logged
        body = (why + "\n").encode()
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            "Content-Type: text/plain; charset=utf-8",
            f"Content-Length: {len(body)}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in headers),
        ]
        self.response = ("\r\n".join(lines) + "\r\n\r\n").encode() + body


@frozen
class Accepted:
    """What a client asked for, and gets."""

    gathering_id: str
    codec: Codec
    request: HandshakeRequest
    rest: bytes
    """What came after the request."""


def _nothing() -> None:
    """Do nothing: nobody wants to be told."""


def _keep_quiet(_: Refused) -> None:
    """Do nothing: nobody wants to be told."""


async def _as_it_is(accepted: Accepted) -> Accepted:
    return accepted


async def shake_hands(
    stream: trio.abc.Stream,
    source: Source,
    entrance: trio.CapacityLimiter,
    nursery: trio.Nursery,
    timeout: float,
    *,
    said: bytearray | None = None,
    peer: str | None = None,
    origins: OriginRule | None = None,
    heard: Callable[[], None] = _nothing,
    admit: Callable[[Accepted], Awaitable[Accepted | None]] = _as_it_is,
    refused: Callable[[Refused], None] = _keep_quiet,
) -> Accepted | None:
    """Read a request and answer it.

    However many clients come at once, only a few requests are understood in a turn: those of the
    clients that hold the `entrance`.

    Args:
        stream: Where the answer goes.
        source: Where the request comes from: the same stream.
        entrance: All clients of a server share it.
        nursery: Has a task that watches the time.
        timeout: How many seconds the request may take, and how many its answer may take.
        said: What the client has said so far, to another process: some of its request, or all of
            it, or more. What it says is added.
        peer: The client's address.
        origins: The web pages from which a browser may come; None for any.
        heard: Called as soon as the whole request is there.
        admit: Called with what would be accepted; returns it, knowing more of it, or None if the
            client gets its answer elsewhere, or raises `Refused`.
        refused: Called with the refusal, if it is refused.

    Returns:
        What was accepted; None if it was refused or came too late, or the client went away, or
        gets its answer elsewhere.

    Raises:
        trio.BrokenResourceError: The client went away while we answered.

    Cancellation: the stream is in the middle of something, and must be closed.
    """
    buffer = None
    with time_limit(nursery, timeout, HELD_UP):
        buffer = await _read_request(source, heard, bytearray() if said is None else said)
    if buffer is None:
        return None
    accepted: Accepted | None = None
    try:
        # A client that waits here has sent its whole request: this time doesn't count.
        async with entrance:
            accepted, answer = _understand(buffer, peer, origins)
        accepted = await admit(accepted)
        if accepted is None:
            return None
    except Refused as refusal:
        accepted, answer = None, refusal.response
        refused(refusal)
    with time_limit(nursery, timeout, HELD_UP):
        await stream.send_all(answer)
        if accepted is None and isinstance(stream, trio.abc.HalfCloseableStream):
            # Closing with unread bytes would reset the connection under the response.
            await stream.send_eof()
            await source.feed(_ignore())
        return accepted
    return None


async def _read_request(
    source: Source, heard: Callable[[], None], buffer: bytearray
) -> bytes | None:
    """Read a request's head, or as much as must be refused; None where the client went away."""
    ended = False

    def wants_more(seen: int) -> bool:
        has_end = buffer.find(_END, max(0, seen - 3)) >= 0
        if _may_be_get(buffer) and not has_end and len(buffer) <= MAX_REQUEST_SIZE:
            return True
        # At once, and not when the task gets its turn.
        heard()
        return False

    def take(data: bytes) -> bool:
        nonlocal ended
        seen = len(buffer)
        buffer.extend(data)
        ended = not data
        return not ended and wants_more(seen)

    if wants_more(0):
        await source.feed(take)
    return None if ended else bytes(buffer)


def _may_be_get(buffer: bytes | bytearray) -> bool:
    return _GET.startswith(bytes(buffer[: len(_GET)]))


def _ignore() -> Take:
    left = MAX_IGNORED

    def take(data: bytes) -> bool:
        nonlocal left
        left -= len(data)
        return bool(data) and left > 0

    return take


class _Handshake(ServerProtocol):
    offered: Sequence[str] = ()

    def select_subprotocol(self, subprotocols: Sequence[Subprotocol]) -> Subprotocol | None:
        self.offered = subprotocols
        # The client's order counts. Refusing is left until we know that there is something here.
        return next((name for name in subprotocols if name in CODECS), None)


def _understand(
    buffer: bytes, peer: str | None, origins: OriginRule | None
) -> tuple[Accepted, bytes]:
    """Return what is accepted, and the answer that says so. Raises `Refused`."""
    if not _may_be_get(buffer):
        # A client that speaks TLS, say, waits for an answer to its first bytes.
        raise Refused(400, _NO_GET)
    head, end, rest = buffer.partition(_END)
    if not end or len(head) > MAX_REQUEST_SIZE:
        raise Refused(431, f"the request's header is over {MAX_REQUEST_SIZE} bytes")
    protocol = _Handshake(logger=QUIET_LOG)
    try:
        protocol.receive_data(head + end)
        request = next(iter(protocol.events_received()), None)
        if not isinstance(request, Request):
            raise _no_request(protocol.handshake_exc)
        response = protocol.accept(request)
        if protocol.handshake_exc is not None:
            raise _no_request(protocol.handshake_exc)
        hosts = request.headers.get_all("Host")
        if len(hosts) != 1 or not hosts[0].isascii():
            raise Refused(400, "not a WebSocket request: it must have one Host, in ASCII")
        headers = tuple(request.headers.raw_items())
        if origins is not None and not origins.allows(headers):
            raise Refused(403, NOT_ALLOWED)
        if has_token_in_url(request.path):
            raise Refused(400, TOKEN_IN_URL)
        gathering_id = _gathering_id(request.path)
        codec = JSON if protocol.subprotocol is None else CODECS[protocol.subprotocol]
        if protocol.subprotocol is None and "Sec-WebSocket-Protocol" in request.headers:
            known = ", ".join(CODECS)
            raise Refused(400, f"none of the subprotocols is known here; known are {known}")
        protocol.send_response(response)
        seen = HandshakeRequest(
            path=request.path,
            headers=headers,
            peer=peer,
            subprotocols=protocol.offered,
        )
        return Accepted(gathering_id, codec, seen, rest), b"".join(protocol.data_to_send())
    finally:
        retire(protocol)


def _no_request(error: Exception | None) -> Refused:
    if error is None:
        return Refused(400, "not a WebSocket request")
    if isinstance(error, InvalidHeaderValue) and error.name == "Sec-WebSocket-Version":
        version = ("Sec-WebSocket-Version", "13")
        return Refused(426, "the version of WebSockets isn't known here: only 13", [version])
    reason = reason_of(error)
    if isinstance(reason, SecurityError):
        return Refused(431, "the request has too long a line, or too many of them")
    why = logged = "not a WebSocket request"
    if isinstance(reason, InvalidHeader):
        logged += f": {'invalid' if reason.value else 'missing'} {reason.name} header"
    return Refused(400, f"{why}: {quote(reason)}", logged=logged)


def _gathering_id(target: str) -> str:
    try:
        path = urlsplit(target).path
    except ValueError:
        raise Refused(400, "the request's target is not a path") from None
    if not path.startswith(PREFIX) or "/" in path[len(PREFIX) :]:
        raise Refused(404, f"nothing is here; gatherings are at {PREFIX}ID")
    try:
        return check_gathering_id(unquote(path[len(PREFIX) :]))
    except BadGatheringId as error:
        raise Refused(
            400, str(error), logged="the path doesn't end with a gathering's id"
        ) from None
