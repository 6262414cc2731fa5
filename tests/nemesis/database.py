"""The PostgreSQL of a run: a real server, which is restarted and killed."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import trio
from attrs import define

from tests.postgres import Postgres, a_server

TRIES = 50


@define(eq=False)
class Database:
    """A server, with the thread that starts it: it ends when that thread does."""

    server: Postgres
    _thread: ThreadPoolExecutor

    async def connect(self) -> trio.SocketStream:
        """Connect to it, as a proxy does for a node."""
        return await trio.open_tcp_stream("127.0.0.1", self.server.port)

    def url(self, port: int, host: str = "127.0.0.1") -> str:
        """Return the store's URL for a node that comes by way of this address."""
        return self.server.url().replace(f"127.0.0.1:{self.server.port}", f"{host}:{port}")

    async def kill(self) -> None:
        """`kill -9` of all its processes."""
        await self._do(self.server.crash)

    async def end(self) -> None:
        """Have it end in order, without waiting for its clients."""
        await self._do(self.server.stop)

    async def start(self) -> None:
        """Start it again, once its memory isn't in use by processes that were killed."""
        for _ in range(TRIES):
            try:
                await self._do(self.server.start)
            except AssertionError:
                await trio.sleep(0.1)
            else:
                return
        await self._do(self.server.start)

    async def _do(self, do: Callable[[], None]) -> None:
        await trio.to_thread.run_sync(lambda: self._thread.submit(do).result())


@contextmanager
def database() -> Iterator[Database]:
    """Start a new server; stop it at the end.

    What it writes is flushed to the disk, as it is where power may fail.
    """
    with ThreadPoolExecutor(1) as thread:
        context = a_server("max_connections=200", flushes=True)
        server = thread.submit(context.__enter__).result()
        try:
            yield Database(server, thread)
        finally:
            thread.submit(context.__exit__, None, None, None).result()
