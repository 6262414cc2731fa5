"""Long silences at the edge, with a virtual clock and a stream in memory."""

import json

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from squire_gatherings import open_hall, serve_stream
from squire_gatherings._server.pinging import keep_alive
from squire_gatherings._server.serving import Serving


async def hear(client: WebSocketConnection) -> dict[str, object]:
    message: dict[str, object] = json.loads(await client.get_message())
    return message


async def test_an_idle_day_over_a_stream_ends_on_time(autojump_clock: MockClock) -> None:
    """Pings continue all day, and none of them counts as activity."""
    async with open_hall() as hall, trio.open_nursery() as nursery:
        ours, theirs = memory_stream_pair()
        server = Serving((), ())
        nursery.start_soon(keep_alive, server, 60.0)
        async with trio.open_nursery() as ended:

            async def serve() -> None:
                await serve_stream(hall, ours, server=server)

            ended.start_soon(serve)
            client = await wrap_client_stream(nursery, theirs, "x", "/gatherings/room")  # type: ignore[arg-type]
            await client.send_message('{"type":"join"}')
            assert (await hear(client))["type"] == "joined"
            start = trio.current_time()
            notice = await hear(client)
            assert trio.current_time() == start + 24 * 60 * 60
            assert (notice["type"], notice["reason"]) == ("dispersed", "idle")
            with pytest.raises(ConnectionClosed) as closed:
                await client.get_message()
            assert closed.value.reason is not None
            assert closed.value.reason.code == 4001
        assert server.connections == 0
        nursery.cancel_scope.cancel()


async def test_a_dead_peer_is_noticed(autojump_clock: MockClock) -> None:
    async with open_hall() as hall, trio.open_nursery() as nursery:
        ours, theirs = memory_stream_pair()
        server = Serving((), ())
        nursery.start_soon(keep_alive, server, 20.0)

        async def serve() -> None:
            await serve_stream(hall, ours, server=server)

        nursery.start_soon(serve)
        async with trio.open_nursery() as reading:
            client = await wrap_client_stream(reading, theirs, "x", "/gatherings/room")  # type: ignore[arg-type]
            await client.send_message('{"type":"join"}')
            await hear(client)
            # From here on the client reads and answers nothing: its machine has lost power.
            reading.cancel_scope.cancel()
        start = trio.current_time()
        await server.wait_empty()
        assert 20 < trio.current_time() - start <= 60
        await wait_all_tasks_blocked()
        assert hall.snapshot().clients == 0
        nursery.cancel_scope.cancel()


async def test_a_handshake_that_never_comes_is_given_up(autojump_clock: MockClock) -> None:
    async with open_hall() as hall:
        ours, theirs = memory_stream_pair()
        await theirs.send_all(b"GET /gatherings/room HT")
        start = trio.current_time()
        await serve_stream(hall, ours)
        assert trio.current_time() == start + 10
