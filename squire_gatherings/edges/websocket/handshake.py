"""The opening handshake: from an HTTP request to a gathering's id and a codec, or a refusal."""

from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import unquote, urlsplit

import trio
import wsproto
from attrs import frozen
from wsproto.events import AcceptConnection, RejectConnection, Request

from squire_gatherings.edges.codecs import CODECS, JSON, Codec
from squire_gatherings.values.errors import BadGatheringId
from squire_gatherings.values.ids import check_gathering_id

MAX_REQUEST_SIZE = 16 * 1024
PREFIX = "/gatherings/"
RETRY_AFTER = ("Retry-After", "5")


class Refused(Exception):
    """The request isn't answered with a WebSocket; `response` is what it's answered with."""

    def __init__(self, status: int, why: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(why)
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
    """What a client asked for; `rest` are the bytes that came after the request."""

    gathering_id: str
    codec: Codec
    rest: bytes


async def shake_hands(stream: trio.abc.Stream, *, full: bool = False) -> Accepted | None:
    """Read a request and answer it; None if it was refused, or the client went away.

    A server that is `full` refuses what it would have accepted. Raises
    `trio.BrokenResourceError` when the client is gone while we answer. When cancelled, the
    stream is in the middle of something and must be closed.
    """
    buffer = bytearray()
    try:
        seen = 0
        while (end := buffer.find(b"\r\n\r\n", max(0, seen - 3))) < 0:
            seen = len(buffer)
            if seen > MAX_REQUEST_SIZE:
                raise Refused(431, f"the request's header is over {MAX_REQUEST_SIZE} bytes")
            data = await stream.receive_some()
            if not data:
                return None
            buffer += data
        end += 4
        connection = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        gathering_id, codec, named = _understand(connection, bytes(buffer[:end]))
        if full:
            raise Refused(503, "the server has all the clients that it takes", [RETRY_AFTER])
    except Refused as refused:
        await stream.send_all(refused.response)
        if isinstance(stream, trio.abc.HalfCloseableStream):
            # Closing with unread bytes would reset the connection under the response.
            await stream.send_eof()
            while await stream.receive_some():
                pass
        return None
    subprotocol = codec.subprotocol if named else None
    await stream.send_all(connection.send(AcceptConnection(subprotocol=subprotocol)))
    return Accepted(gathering_id, codec, bytes(buffer[end:]))


def _understand(connection: wsproto.WSConnection, head: bytes) -> tuple[str, Codec, bool]:
    try:
        connection.receive_data(head)
        request = next(connection.events(), None)
    except wsproto.utilities.RemoteProtocolError as error:
        hint = error.event_hint
        status = hint.status_code if isinstance(hint, RejectConnection) else 400
        if status == 426:
            raise Refused(426, f"{error}: only 13", [("Sec-WebSocket-Version", "13")]) from None
        raise Refused(400, f"not a WebSocket request: {error}") from None
    except (ValueError, LookupError) as error:
        # wsproto decodes some headers without looking whether they can be.
        raise Refused(400, f"not a WebSocket request: {error}") from None
    if not isinstance(request, Request):
        raise Refused(400, "not a WebSocket request")
    try:
        path = urlsplit(request.target).path
    except ValueError:
        raise Refused(400, "the request's target is not a path") from None
    if not path.startswith(PREFIX) or "/" in path[len(PREFIX) :]:
        raise Refused(404, f"nothing is here; gatherings are at {PREFIX}ID")
    try:
        gathering_id = check_gathering_id(unquote(path[len(PREFIX) :]))
    except BadGatheringId as error:
        raise Refused(400, str(error)) from None
    if not request.subprotocols:
        return gathering_id, JSON, False
    for name in request.subprotocols:
        if name in CODECS:
            return gathering_id, CODECS[name], True
    raise Refused(400, f"none of the subprotocols is known here; known are {', '.join(CODECS)}")
