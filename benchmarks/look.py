"""What it costs to look, before a gathering ends, for what has arrived and nobody has read.

A gathering whose deadline has passed gives two turns to tasks that wait for a stream, and reads the
socket of each client once without waiting (docs/life-of-a-gathering.md). Measured here: that read
on idle sockets, for each client, next to the close notice that each is sent anyway.
"""

import argparse
import json
from functools import partial
from statistics import median
from time import perf_counter

import trio
from websockets.frames import Frame, Opcode

from squire_gatherings import Hall, Server, open_hall, serve

REQUEST = (
    b"GET /gatherings/room HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)
JOIN = Frame(Opcode.TEXT, json.dumps({"type": "join"}).encode()).serialize(mask=True)


async def connect(port: int) -> trio.SocketStream:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    await stream.send_all(REQUEST)
    await stream.receive_some(4096)
    await stream.send_all(JOIN)
    await stream.receive_some(4096)
    return stream


def look(server: Server) -> float:
    """Return how many microseconds it took for each."""
    connections = tuple(server._connections)
    start = perf_counter()
    for connection in connections:
        connection.read_arrived()
    return (perf_counter() - start) / len(connections) * 1e6


async def notice(hall: Hall, streams: list[trio.SocketStream]) -> float:
    """End the gathering; return how many microseconds that took for each client."""
    start = perf_counter()
    await hall.disperse("room")
    return (perf_counter() - start) / len(streams) * 1e6


async def run(clients: int) -> None:
    async with open_hall() as hall, trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve, hall, host="127.0.0.1", port=0))
        _, port = server.addresses[0]
        streams = [await connect(port) for _ in range(clients)]
        await trio.sleep(0.5)
        looked = median([look(server) for _ in range(101)])
        noticed = await notice(hall, streams)
        print(
            f"{clients} clients: a look costs {looked:.2f} us each,"
            f" the notice and the end {noticed:.2f} us each (ratio {looked / noticed:.2f})"
        )
        for stream in streams:
            await stream.aclose()
        nursery.cancel_scope.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    options = parser.parse_args()
    for clients in sorted({1, 100, options.clients}):
        trio.run(run, clients)


if __name__ == "__main__":
    main()
