"""Sources: how the bytes of a client come in.

One task, a `Poller`, waits for all plain sockets of a server at once. Of streams that aren't plain
sockets (TLS, memory) each is read by its own task.
"""

import socket
from collections.abc import Callable
from typing import Protocol

import trio

from squire_gatherings._poller import FRAME_SIZE, Poller

RECEIVE_SIZE = 64 * 1024

END_SIZE = 8 * FRAME_SIZE
"""A task that must be woken counts as so many bytes: it has much to do then."""

Take = Callable[[bytes], bool]
"""Takes what has come, `b""` at the end; returns whether it wants more. Doesn't wait."""


class Source(Protocol):
    """Where bytes come from."""

    async def feed(self, take: Take) -> None:
        """Call `take` with all that comes; return when it wants no more.

        Args:
            take: Must not want more after the end.

        Raises:
            Exception: What `take` raises.

        Cancellation: nothing that was read is lost.
        """
        ...

    def attach(self, take: Take) -> bool:
        """Call `take` with what comes, while the caller's task does something else.

        It ends with `detach`, or when `take` wants no more.

        Returns:
            False where only a task can read: nothing was begun, and `feed` does it.
        """
        ...

    def detach(self) -> None:
        """End what `attach` began. Raises what `take` has raised."""
        ...

    def receive_nowait(self) -> bytes | None:
        """Return what has arrived, `b""` at the end; None if nothing has, or nobody can tell."""
        ...

    def stop(self) -> None:
        """Let `feed` return, if a task waits in it."""
        ...

    def spend(self, frames: int) -> None:
        """Count frames that were taken in beyond one for what was received."""
        ...

    def let_in(self) -> None:
        """Note that the client is in a gathering: it is read before those that aren't."""
        ...

    def put_behind(self, in_turn: Callable[[], None]) -> None:
        """Have all others read before this client's next bytes are, and what is urgent done.

        Calls `in_turn` when nothing urgent is to be done, which may be at once.
        """
        ...


class StreamSource:
    """Any stream, read by the task that feeds."""

    __slots__ = ("_stream",)

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream

    async def feed(self, take: Take) -> None:
        """See `Source`."""
        wanted = True
        while wanted:
            try:
                data = await self._stream.receive_some(RECEIVE_SIZE)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            wanted = take(bytes(data))

    def attach(self, take: Take) -> bool:
        """See `Source`: only a task can read a stream."""
        return False

    def detach(self) -> None:
        """See `Source`."""

    def receive_nowait(self) -> bytes | None:
        """See `Source`: a stream can't be read without waiting."""
        return None

    def stop(self) -> None:
        """See `Source`: without `receive_nowait`, only `take` says when there's enough."""

    def spend(self, frames: int) -> None:
        """See `Source`: nobody else is read by this task."""

    def let_in(self) -> None:
        """See `Source`: its task has its turn like all others."""

    def put_behind(self, in_turn: Callable[[], None]) -> None:
        """See `Source`: its task has its turn like all others."""
        in_turn()


class PolledSource:
    """A non-blocking socket that a `Poller` reads."""

    __slots__ = ("_failure", "_is_known", "_poller", "_socket", "_spent", "_take", "_task")

    def __init__(self, poller: Poller, one: socket.socket) -> None:
        self._poller = poller
        self._socket = one
        self._take: Take | None = None
        self._task: trio.lowlevel.Task | None = None
        self._failure: BaseException | None = None
        self._spent = 0
        self._is_known = False

    async def feed(self, take: Take) -> None:
        """See `Source`."""
        self._take = take
        self._poller.watch(self._socket, self._readable, is_known=self._is_known)
        try:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._cancelled)
            if self._failure is not None:
                raise self._failure
        finally:
            self._stop()
            self._failure = None

    def attach(self, take: Take) -> bool:
        """See `Source`."""
        self._take = take
        self._poller.watch(self._socket, self._readable, is_known=self._is_known)
        return True

    def detach(self) -> None:
        """See `Source`."""
        self._stop()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def receive_nowait(self) -> bytes | None:
        """See `Source`."""
        if self._socket.fileno() < 0:
            return None
        try:
            return self._socket.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def stop(self) -> None:
        """See `Source`."""
        self._stop()
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None

    def spend(self, frames: int) -> None:
        """See `Source`."""
        self._spent += frames

    def let_in(self) -> None:
        """See `Source`."""
        self._is_known = True

    def put_behind(self, in_turn: Callable[[], None]) -> None:
        """See `Source`."""
        if self._take is None:
            in_turn()
        else:
            self._poller.put_behind(self._socket, in_turn)

    def _readable(self, _: int) -> int:
        # The poller may have found us readable just before we stopped.
        if self._take is None:
            return 0
        try:
            data = self._socket.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        return self._give(self._take, data)

    def give(self, data: bytes) -> None:
        """Have what another process has read be taken, as if it had just come, while `feed` runs.

        Empty: nothing is taken, and `feed` returns.
        """
        if self._take is None or not data:
            self.stop()
        else:
            self._give(self._take, data)

    def _give(self, take: Take, data: bytes) -> int:
        try:
            wanted = take(data)
        except BaseException as error:
            self._failure = error
            wanted = False
        size = len(data)
        if not wanted:
            size += END_SIZE
            # At once, not when the task gets its turn: until then nothing more may be read.
            self.stop()
        if self._spent:
            size += self._spent * FRAME_SIZE
            self._spent = 0
        return size

    def _stop(self) -> None:
        if self._take is not None:
            self._take = None
            self._poller.forget(self._socket)

    def _cancelled(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._task = None
        self._stop()
        return trio.lowlevel.Abort.SUCCEEDED
