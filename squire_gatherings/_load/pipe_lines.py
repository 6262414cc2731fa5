"""Pipe lines: what one process tells another, line by line."""

from collections.abc import AsyncIterator

import trio


class PipeLines(AsyncIterator[bytes]):
    """Iterates over the lines of a stream, without their ends."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._rest = b""

    async def __anext__(self) -> bytes:
        """Return the next line; a last one without an end is dropped.

        Cancellation: nothing that has come is lost.
        """
        searched = 0
        while (end := self._rest.find(b"\n", searched)) < 0:
            searched = len(self._rest)
            data = await self._stream.receive_some()
            if not data:
                raise StopAsyncIteration
            self._rest += data
        line, self._rest = self._rest[:end], self._rest[end + 1 :]
        return line
