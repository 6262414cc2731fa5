"""Pumping: what is said passes, and a client is told to come again only where that can be read."""

import trio
import trio.testing

from squire_gatherings._cluster.pumping import TRY_AGAIN, Pump

HEAD = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
CLOSE = b"\x88\x02\x03\xe9"


async def run(pump: Pump, done: trio.Event) -> None:
    await pump.run()
    await pump.client.aclose()
    done.set()


async def heard(stream: trio.abc.ReceiveStream) -> bytes:
    got = bytearray()
    while data := await stream.receive_some():
        got += data
    return bytes(got)


async def pumped(*said: bytes, ends: bool) -> bytes:
    """Have a server say this, and then end, or the pump; return what the client heard."""
    client, ours = trio.testing.memory_stream_pair()
    server, theirs = trio.testing.memory_stream_pair()
    pump, done = Pump(ours, theirs), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, pump, done)
        for one in said:
            await server.send_all(one)
        await trio.testing.wait_all_tasks_blocked()
        if ends:
            await server.aclose()
        else:
            pump.end()
        got = await heard(client)
        await done.wait()
    return got


async def test_a_client_whose_server_goes_without_a_word_is_told_to_come_again() -> None:
    for ends in (True, False):
        assert await pumped(HEAD + b"\x81\x02hi", ends=ends) == HEAD + b"\x81\x02hi" + TRY_AGAIN


async def test_nothing_follows_a_close_frame_or_a_part_of_a_frame() -> None:
    for said in (HEAD + CLOSE, HEAD + b"\x81\x05hi", HEAD[:-1], b"HTTP/1.1 503 No\r\n\r\nno"):
        for ends in (True, False):
            assert await pumped(said, ends=ends) == said


async def test_nothing_follows_what_may_have_gone_out_in_part() -> None:
    """The client reads nothing: nobody knows how much of the frame it has."""
    client, ours = trio.testing.lockstep_stream_pair()
    server, theirs = trio.testing.memory_stream_pair()
    pump, done = Pump(ours, theirs), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, pump, done)
        await server.send_all(HEAD)
        assert await client.receive_some() == HEAD
        await server.send_all(b"\x81\x7e\x10\x00" + b"x" * 0x1000)
        await trio.testing.wait_all_tasks_blocked()
        pump.end()
        await done.wait()
        assert TRY_AGAIN not in await heard(client)


async def test_a_client_that_has_said_all_still_hears() -> None:
    client, ours = trio.testing.memory_stream_pair()
    server, theirs = trio.testing.memory_stream_pair()
    pump, done = Pump(ours, theirs), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, pump, done)
        await client.send_all(b"request")
        await client.send_eof()
        assert await heard(server) == b"request"
        await server.send_all(HEAD + CLOSE)
        await server.aclose()
        assert await heard(client) == HEAD + CLOSE
        await done.wait()
