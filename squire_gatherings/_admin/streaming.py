"""Streaming: answers that go out piece by piece, until the client goes or the port closes.

Not Starlette's: that leaves the pieces' generator unfinished where it is cancelled.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import trio
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from squire_gatherings._hall.nurseries import open_hidden_nursery


class Streamed(Response):
    """An answer whose pieces are made while it goes out, but for the first one."""

    def __init__(
        self,
        first: bytes,
        pieces: AsyncGenerator[bytes, None],
        stopping: trio.Event,
        *,
        media_type: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.body = b""
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        self._first = first
        self._pieces = pieces
        self._stopping = stopping
        self.init_headers(headers)
        # It has no length: it goes out in chunks.
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, as ASGI has it."""
        async with aclosing(self._pieces) as pieces, open_hidden_nursery() as nursery:

            async def until_gone() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                nursery.cancel_scope.cancel()

            async def until_stopped() -> None:
                await self._stopping.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(until_gone)
            nursery.start_soon(until_stopped)
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            if scope["method"] != "HEAD":
                await send(_part(self._first))
                async for piece in pieces:
                    await send(_part(piece))
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            nursery.cancel_scope.cancel()


def _part(piece: bytes) -> Message:
    return {"type": "http.response.body", "body": piece, "more_body": True}
