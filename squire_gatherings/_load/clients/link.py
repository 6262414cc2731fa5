"""Links: the connections of a generator process, all served by one poller.

A Trio task and a stream for each connection would cost several times what a message costs here.
"""

import errno
import os
import socket
from time import monotonic
from typing import Protocol

from squire_gatherings._load.clients import frames
from squire_gatherings._poller import READ, WRITE, Poller

RECEIVE_SIZE = 64 * 1024
"""Bytes. For larger buffers the allocator maps new memory each time, which costs five times more
than all the rest of a reading."""


class Owner(Protocol):
    """A link tells its owner what happens to it. No method may wait."""

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
        self._watch(WRITE)

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
            self._watch(READ | WRITE)

    def close(self) -> None:
        """Cut the connection off; the owner hears nothing more."""
        if self._state != "closed":
            self._state = "closed"
            self._poller.forget(self.socket)
            self.socket.close()

    def pause(self) -> None:
        """Read nothing more until `resume` or `sip`."""
        if self._state != "closed":
            self._poller.forget(self.socket)

    def resume(self) -> None:
        """Read again whatever comes."""
        if self._state != "closed":
            self._watch(READ | WRITE if self._out else READ)

    def sip(self, size: int) -> None:
        """Read at most `size` bytes, of a paused link."""
        self._receive_size = size
        if self._state != "closed":
            self._readable()
        self._receive_size = RECEIVE_SIZE

    def _watch(self, events: int) -> None:
        self._poller.watch(self.socket, self.ready, events)

    def ready(self, events: int) -> int:
        """Read or write what can be; see `Ready` of the poller.

        Does nothing after `close`: the poller may have found the socket ready before.
        """
        if self._state == "closed":
            return 0
        if self._state == "connecting":
            error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                self._end(f"can't connect: {os.strerror(error)}")
                return 0
            assert self._handshake is not None
            self._state = "open"
            self._watch(READ)
            self.send(self._handshake.request)
            return 0
        if events & WRITE and self._out:
            out, self._out = self._out, b""
            self._watch(READ)
            self.send(out)
        return self._readable() if events & READ else 0

    def _readable(self) -> int:
        try:
            data = self.socket.recv(self._receive_size)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._end(str(error.strerror or error))
            return 0
        if not data:
            self._end("the server closed the connection")
            return 0
        size = len(data)
        now = monotonic()
        try:
            if self._handshake is not None:
                rest = self._handshake.feed(data)
                if rest is None:
                    return size
                self._handshake = None
                self._owner.opened()
                data = rest
            self._frames(data, now)
        except frames.BadFrame as error:
            self._end(str(error))
        return size

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
