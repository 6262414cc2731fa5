"""The channel: messages and open files from process to process, over a Unix socket.

A message is MessagePack, with its length before it. Its descriptors go with its first byte.
"""

import errno
import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from enum import Enum
from typing import Generic, TypeVar

import msgspec
import trio
from attrs import define, field

from squire_gatherings._handover.messages import Message

AT_ONCE = 200
"""How many descriptors go with one message; the system takes 253."""

PIECE = 256 * 1024
PAUSE = 0.001
"""How many seconds we wait where too many descriptors are under way."""

_HEAD = struct.Struct(">IH")
"""The message's length in bytes, and how many descriptors come with it."""

MAX_SIZE = 2**31
"""How many bytes a message may have: what waits for 10,000 slow readers may be gigabytes."""

_BUSY = (errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM)


class Ended(Exception):
    """The other process has closed the channel, or says what nobody understands."""


class _Wait(Enum):
    READABLE = select.POLLIN
    WRITABLE = select.POLLOUT
    A_MOMENT = 0


_Steps = Generator[_Wait, None, None]
"""Does what can be done, and yields what must be waited for."""

M = TypeVar("M", bound=msgspec.Struct)


@define(eq=False)
class FileChannel(Generic[M]):
    """One end of a channel. It waits as Trio's tasks do, or holds the whole process up."""

    one: socket.socket
    _decode: Callable[[bytes], M]
    """Makes a message of its bytes. Raises `msgspec.MsgspecError`."""
    _max_size: int = MAX_SIZE
    """How many bytes a message may have."""
    _received: bytearray = field(factory=bytearray)
    _descriptors: deque[int] = field(factory=deque)

    def __attrs_post_init__(self) -> None:
        self.one.setblocking(False)

    async def send(self, message: M, descriptors: Sequence[int] = ()) -> None:
        """Send a message, and copies of descriptors.

        Raises:
            Ended: Nobody reads it any more.

        Cancellation: a part may have been sent; the channel is of no use any more.
        """
        for wait in self._sending(message, descriptors):
            if wait is _Wait.A_MOMENT:
                await trio.sleep(PAUSE)
            else:
                await trio.lowlevel.wait_writable(self.one)

    async def receive(self) -> tuple[M, list[int]]:
        """Return the next message, and its descriptors, which are the caller's.

        Raises:
            Ended: None will come.

        Cancellation: nothing that has come is lost.
        """
        for _ in self._receiving():
            await trio.lowlevel.wait_readable(self.one)
        return self._take()

    def send_now(self, message: M, within: float) -> None:
        """Send a message, and let nothing else happen in this process meanwhile.

        Raises:
            Ended: Nobody reads it any more, or not within so many seconds.
        """
        self._block(self._sending(message, ()), within)

    def receive_now(self, within: float) -> M:
        """Return the next message, and let nothing else happen in this process meanwhile.

        Raises:
            Ended: None comes within so many seconds.
        """
        self._block(self._receiving(), within)
        message, descriptors = self._take()
        close_all(descriptors)
        return message

    def close(self) -> None:
        """Close it. Later calls do nothing."""
        self.one.close()
        close_all(self._descriptors)
        self._descriptors.clear()

    def _block(self, steps: _Steps, within: float) -> None:
        until = time.monotonic() + within
        poll = select.poll()
        for wait in steps:
            left = until - time.monotonic()
            if left <= 0:
                raise Ended("it took too long")
            if wait is _Wait.A_MOMENT:
                time.sleep(PAUSE)
            else:
                poll.register(self.one, wait.value)
                poll.poll(left * 1000)

    def _sending(self, message: M, descriptors: Sequence[int]) -> _Steps:
        data = _encode(message)
        view = memoryview(_HEAD.pack(len(data), len(descriptors)) + data)
        while view:
            try:
                if descriptors:
                    sent = socket.send_fds(self.one, [view[:PIECE]], list(descriptors))
                    descriptors = ()
                else:
                    sent = self.one.send(view[:PIECE])
                view = view[sent:]
            except BlockingIOError:
                yield _Wait.WRITABLE
            except OSError as error:
                if error.errno not in _BUSY:
                    raise Ended(error.strerror or str(error)) from None
                yield _Wait.A_MOMENT

    def _receiving(self) -> _Steps:
        """Receive until a message is whole."""
        while not self._is_whole():
            try:
                data, found, flags, _ = socket.recv_fds(self.one, PIECE, AT_ONCE)
            except BlockingIOError:
                yield _Wait.READABLE
                continue
            except OSError as error:
                raise Ended(error.strerror or str(error)) from None
            for one in found:
                # No other program that this process starts is to have them.
                os.set_inheritable(one, False)
            self._descriptors += found
            if flags & socket.MSG_CTRUNC:
                raise Ended("this process may not have so many open files")
            if not data:
                raise Ended("the other process has gone")
            self._received += data

    def _is_whole(self) -> bool:
        if len(self._received) < _HEAD.size:
            return False
        size: int = _HEAD.unpack_from(self._received)[0]
        if size > self._max_size:
            raise Ended("it sends what nobody understands")
        return len(self._received) >= _HEAD.size + size

    def _take(self) -> tuple[M, list[int]]:
        size, count = _HEAD.unpack_from(self._received)
        end = _HEAD.size + size
        data = bytes(memoryview(self._received)[_HEAD.size : end])
        del self._received[:end]
        if count > len(self._descriptors):
            raise Ended("not all open files came along")
        descriptors = [self._descriptors.popleft() for _ in range(count)]
        try:
            return self._decode(data), descriptors
        except msgspec.MsgspecError as error:
            close_all(descriptors)
            raise Ended(f"it sends what nobody understands: {error}") from None


def close_all(descriptors: Sequence[int] | deque[int]) -> None:
    """Close descriptors."""
    for one in descriptors:
        os.close(one)


_encode = msgspec.msgpack.Encoder().encode


@define(eq=False)
class Channel(FileChannel[Message]):
    """The channel of a handover."""

    _decode: Callable[[bytes], Message] = msgspec.msgpack.Decoder(Message).decode
