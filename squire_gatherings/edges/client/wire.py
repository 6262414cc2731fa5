"""The wire: one WebSocket to one gathering, as a client sees it; it ends in `Lost`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio
from attrs import frozen
from msgspec import UNSET, UnsetType

from squire_gatherings.edges.client.address import Address, OpenStream
from squire_gatherings.edges.client.settings import ClientSettings
from squire_gatherings.edges.client.websocket import Lost, WebSocket
from squire_gatherings.edges.codecs import JSON, encode_op
from squire_gatherings.values.messages import (
    ClientMessage,
    Conflict,
    Dispersed,
    Error,
    Fetched,
    ForwardBatch,
    Joined,
    Synced,
)
from squire_gatherings.values.op import Op


class _Forward(msgspec.Struct, tag="forward", tag_field="type"):
    """Both forms of a forward, which a decoder can't tell apart by their `type`."""

    seq: int
    by: str | tuple[str | None, ...] | None
    op: Op | UnsetType = UNSET
    ops: tuple[Op, ...] | UnsetType = UNSET

    def batch(self) -> ForwardBatch:
        if isinstance(self.op, Op) and not isinstance(self.by, tuple):
            return ForwardBatch(self.seq, (self.by,), (self.op,))
        if isinstance(self.ops, tuple) and isinstance(self.by, tuple):
            return ForwardBatch(self.seq, self.by, self.ops)
        raise Lost("the server sent a forward whose fields contradict each other")


class _Unknown(msgspec.Struct):
    type: str


Incoming = Joined | Fetched | Synced | Conflict | ForwardBatch | Error | Dispersed
_Known = Joined | Fetched | Synced | Conflict | _Forward | Error | Dispersed


def _make_op(_: type, value: Any) -> Op:
    return Op.of(value)


_encoder = msgspec.json.Encoder(enc_hook=encode_op)
_decoder: msgspec.json.Decoder[_Known] = msgspec.json.Decoder(_Known, dec_hook=_make_op)
_unknown = msgspec.json.Decoder(_Unknown)
_KNOWN = frozenset({"joined", "fetched", "synced", "conflict", "forward", "error", "dispersed"})


def decode(text: str | bytes) -> Incoming | None:
    """Return a server's message, None for a type of a later version. Raises `Lost`."""
    try:
        message = _decoder.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        try:
            if _unknown.decode(text).type not in _KNOWN:
                return None
        except (msgspec.MsgspecError, ValueError, RecursionError):
            pass
        raise Lost(f"the server sent something else than a message: {error}"[:300]) from None
    return message.batch() if isinstance(message, _Forward) else message


def encode(message: ClientMessage) -> str:
    """Return a client's message as JSON."""
    return _encoder.encode(message).decode()


@frozen
class Wire:
    """An open WebSocket to a gathering. Everything here raises `Lost` once it has ended."""

    _socket: WebSocket

    async def send(self, message: ClientMessage) -> None:
        """Send a message. Cancelled, it may be cut off: the wire must be closed then."""
        await self._socket.send_text(encode(message))

    async def receive(self) -> Incoming:
        """Wait for the next message that we understand. Cancelled, none is lost."""
        while True:
            message = decode(await self._socket.receive_text())
            if message is not None:
                return message

    async def ping(self) -> None:
        """Ask whether the server is there, and wait until `receive` sees its answer."""
        await self._socket.ping()


@asynccontextmanager
async def open_wire(
    address: Address, gathering_id: str, settings: ClientSettings, open_stream: OpenStream
) -> AsyncIterator[Wire]:
    """Connect and shake hands. Raises `Lost`, or `CannotConnect` where no retry can help.

    Leaving the block says goodbye, for at most `close_timeout` seconds even when cancelled,
    unless it's left by `Lost`: then nobody is there.
    """
    uri = address.uri(gathering_id)
    try:
        stream = await open_stream()
    except OSError as error:
        raise Lost(f"can't reach {address}: {error.strerror or error}") from None
    socket = WebSocket(stream, uri, JSON.subprotocol, settings.max_message_size)
    try:
        await socket.shake_hands()
        try:
            yield Wire(socket)
        except Lost:
            raise
        except BaseException:
            await _say_goodbye(socket, settings)
            raise
        else:
            await _say_goodbye(socket, settings)
    finally:
        socket.retire()
        await trio.aclose_forcefully(stream)


async def _say_goodbye(socket: WebSocket, settings: ClientSettings) -> None:
    with trio.move_on_after(settings.close_timeout, shield=True):
        await socket.say_goodbye()
