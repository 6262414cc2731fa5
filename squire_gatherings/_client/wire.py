"""The wire: one WebSocket to one gathering, as a client sees it; it ends in `Lost`."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec
import trio
from attrs import frozen

from squire_gatherings._client.address import Address, OpenStream, tls_fault
from squire_gatherings._client.incoming import Incoming, decode
from squire_gatherings._client.patience import Patience
from squire_gatherings._client.settings import ClientSettings
from squire_gatherings._client.websocket import Lost, WebSocket
from squire_gatherings._values.messages import ClientMessage
from squire_gatherings._wire.codecs import JSON, encode_op

_encoder = msgspec.json.Encoder(enc_hook=encode_op)


def encode(message: ClientMessage) -> str:
    """Return a client's message as JSON."""
    return _encoder.encode(message).decode()


class Untrusted(Lost):
    """TLS didn't come about: the certificate, or what is at the address, is the wrong one."""


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

    async def ping(self, patience: float) -> None:
        """Ask whether the server is there, and wait until `receive` sees its answer.

        Raises `Lost` once nothing has moved for `patience` seconds.
        """
        await self._socket.ping(patience)

    @property
    def patience(self) -> Patience:
        """What waits here, and goes on while bytes move."""
        return self._socket.patience


@asynccontextmanager
async def open_wire(
    address: Address,
    gathering_id: str,
    headers: Mapping[str, str],
    settings: ClientSettings,
    open_stream: OpenStream,
) -> AsyncIterator[Wire]:
    """Connect and shake hands, with these headers besides.

    Raises `Lost`, and `Untrusted` where TLS says no.

    Leaving the block says goodbye, for at most `close_timeout` seconds even when cancelled,
    unless it's left by `Lost`: then nobody is there.
    """
    uri = address.uri(gathering_id)
    try:
        stream = await open_stream()
    except ssl.SSLError as error:
        raise Untrusted(f"no TLS with {address}: {tls_fault(error)}") from None
    except OSError as error:
        raise Lost(f"can't reach {address}: {error.strerror or error}") from None
    socket = WebSocket(stream, uri, JSON.subprotocol, settings.max_message_size)
    try:
        await socket.shake_hands(headers)
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
