"""Links: the sockets of a generator process, all behind one selector and one Trio task.

A Trio task and a stream for each connection would cost several times what a message
costs here; so one task waits until the selector itself becomes readable, and then serves
every socket that has something, without a checkpoint in between.
"""

import contextlib
import errno
import os
import selectors
import socket
from time import monotonic
from typing import Protocol

import trio

from squire_gatherings._load import frames

RECEIVE_SIZE = 256 * 1024
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Owner(Protocol):
    """Whom a link tells what happens to it. No method may wait."""

    def opened(self) -> None:
        """The handshake is done."""

    def message(self, payload: bytes, now: float) -> None:
        """A text message came at `now`."""

    def ponged(self) -> None:
        """The answer to our ping came."""

    def closing(self, code: int, now: float) -> None:
        """The server's close frame came (and has been answered)."""

    def ended(self, why: str) -> None:
        """The connection is over: last of all, unless we closed it ourselves."""


class Poller:
    """Waits for all the links of a process."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def watch(self, link: "Link", events: int) -> None:
        """Serve a link from now on, for these events only."""
        try:
            self._selector.modify(link.socket, events, link)
        except KeyError:
            self._selector.register(link.socket, events, link)

    def forget(self, link: "Link") -> None:
        """Serve a link no more, if it was served."""
        with contextlib.suppress(KeyError):
            self._selector.unregister(link.socket)

    async def run(self) -> None:
        """Serve the links until cancelled; cancelling closes none of them."""
        selector = self._selector
        while True:
            await trio.lowlevel.wait_readable(selector.fileno())
            for key, events in selector.select(0):
                key.data.ready(events)


class Link:
    """One WebSocket, from connecting to its end. Making one raises `OSError` at once or never."""

    __slots__ = (
        "_handshake",
        "_out",
        "_owner",
        "_poller",
        "_reader",
        "_receive_size",
        "_state",
        "socket",
    )

    def __init__(
        self,
        poller: Poller,
        address: tuple[str, int],
        path: str,
        owner: Owner,
        *,
        receive_buffer: int | None = None,
    ) -> None:
        self._poller = poller
        self._owner = owner
        self._out = b""
        self._reader = frames.FrameReader()
        self._receive_size = RECEIVE_SIZE
        self._handshake: frames.Handshake | None = frames.Handshake(*address, path)
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._state = "connecting"
        error = self.socket.connect_ex(address)
        if error not in (0, errno.EINPROGRESS):
            self.socket.close()
            raise OSError(error, os.strerror(error))
        poller.watch(self, WRITE)

    @property
    def is_open(self) -> bool:
        """Whether messages may be sent."""
        return self._state == "open"

    def send(self, data: bytes) -> None:
        """Send frames; what the kernel doesn't take at once follows by itself."""
        if self._state != "open":
            return
        if self._out:
            self._out += data
            return
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            # Reading tells why.
            return
        if sent < len(data):
            self._out = data[sent:]
            self._poller.watch(self, READ | WRITE)

    def close(self) -> None:
        """Cut the connection off; the owner hears nothing more."""
        if self._state != "closed":
            self._state = "closed"
            self._poller.forget(self)
            self.socket.close()

    def pause(self) -> None:
        """Read nothing more until `resume` or `sip`."""
        self._poller.forget(self)

    def resume(self) -> None:
        """Read again whatever comes."""
        if self._state != "closed":
            self._poller.watch(self, READ | WRITE if self._out else READ)

    def sip(self, size: int) -> None:
        """Read at most `size` bytes, of a paused link."""
        self._receive_size = size
        if self._state != "closed":
            self._readable()
        self._receive_size = RECEIVE_SIZE

    def ready(self, events: int) -> None:
        """The selector says that something can be done."""
        if self._state == "connecting":
            error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                self._end(f"can't connect: {os.strerror(error)}")
                return
            assert self._handshake is not None
            self._state = "open"
            self._poller.watch(self, READ)
            self.send(self._handshake.request)
            return
        if events & WRITE and self._out:
            out, self._out = self._out, b""
            self._poller.watch(self, READ)
            self.send(out)
        if events & READ and self._state != "closed":
            self._readable()

    def _readable(self) -> None:
        try:
            data = self.socket.recv(self._receive_size)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(str(error.strerror or error))
            return
        if not data:
            self._end("the server closed the connection")
            return
        now = monotonic()
        try:
            if self._handshake is not None:
                rest = self._handshake.feed(data)
                if rest is None:
                    return
                self._handshake = None
                self._owner.opened()
                data = rest
            self._frames(data, now)
        except frames.BadFrame as error:
            self._end(str(error))

    def _frames(self, data: bytes, now: float) -> None:
        owner = self._owner
        for opcode, payload in self._reader.feed(data):
            if self._state == "closed":
                return
            if opcode == frames.TEXT:
                owner.message(payload, now)
            elif opcode == frames.PING:
                self.send(frames.pong(payload))
            elif opcode == frames.PONG:
                owner.ponged()
            elif opcode == frames.CLOSE:
                self.send(frames.close(payload[:2]))
                owner.closing(frames.close_code(payload), now)
            else:
                raise frames.BadFrame(f"a frame with opcode {opcode}")

    def _end(self, why: str) -> None:
        if self._state != "closed":
            self.close()
            self._owner.ended(why)
