"""Clients that return at once, as after a restart of a server: what that does to all others.

So many clients of as many gatherings connect from another process at the same moment, shake hands
and join with what they have. Beside them other gatherings are used two hundred times a second (see
`benchmarks.lateness`). Exits with 1 if 1 % of the others' messages take more than 20 ms.
"""

import argparse
import json
import sys
import time
from functools import partial
from statistics import quantiles

import trio

from benchmarks.lateness import describe, using_others
from squire_gatherings import open_hall, serve
from squire_gatherings._cli.gc_tuning import calm_the_collector

RETURN = r"""
import json, selectors, socket, sys, time
host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
selector, joined_at = selectors.DefaultSelector(), []
start = time.perf_counter()
for number in range(count):
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex((host, port))
    selector.register(one, selectors.EVENT_WRITE, [number, b""])
while len(joined_at) < count:
    for key, mask in selector.select():
        one, state = key.fileobj, key.data
        if mask & selectors.EVENT_WRITE:
            one.send((
                f"GET /gatherings/room-{state[0]} HTTP/1.1\r\nHost: {host}:{port}\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            ).encode())
            selector.modify(one, selectors.EVENT_READ, state)
            continue
        data = one.recv(65536)
        assert data, "refused"
        before, state[1] = state[1], state[1] + data
        if b"\r\n\r\n" not in before and b"\r\n\r\n" in state[1]:
            # A text frame that says join, masked with zeros.
            text = b'{"type":"join","since":0}'
            one.send(b"\x81" + bytes([0x80 + len(text)]) + b"\0\0\0\0" + text)
        if b'"joined"' in data:
            joined_at.append(time.perf_counter() - start)
            selector.unregister(one)
            state[1] = one
print(json.dumps(joined_at), flush=True)
"""
"""A process with clients that connect and join as fast as they are let in."""


async def returning(count: int) -> bool:
    async with open_hall() as hall, trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve, hall, host="127.0.0.1", port=0))
        host, port = server.addresses[0]
        command = [sys.executable, "-c", RETURN, host, str(port), str(count)]
        async with using_others(hall) as others:
            start = time.perf_counter()
            done = await trio.run_process(command, capture_stdout=True)
            took = time.perf_counter() - start
        joined = [1000 * seconds for seconds in json.loads(done.stdout)]
        nursery.cancel_scope.cancel()
    print(f"{count} clients that return at once: all are in after {took:.1f} s")
    print(f"  each: {describe(joined)}")
    print(f"  others' messages take {describe(others)} ({len(others)})")
    return quantiles(others, n=100)[98] <= 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=8000)
    options = parser.parse_args()
    calm_the_collector()
    sys.exit(0 if trio.run(returning, options.count) else 1)


if __name__ == "__main__":
    main()
