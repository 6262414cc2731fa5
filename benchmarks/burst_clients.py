"""Clients in a process of their own, on bare sockets, for what happens to many at once.

- `others URL RATE`: twenty gatherings with a client each, of which one after the other sends a
  sync, whether those before are answered or not. It begins when standard input says something,
  until that ends. Prints a list of the seconds from a sync to its answer.
- `ends URL COUNT`: a client in each of so many gatherings. Prints the machine's time at which each
  of them got the close frame, and ends the connection as clients do: with a close frame, and when
  the server has closed.
- `reads URL COUNT`: as many sockets that only read, and say nothing. Ends when each has read
  something.
- `returns URL COUNT`: as many clients, from fifty addresses of this machine, that connect at the
  same moment, shake hands and join as fast as they are let in. Prints the seconds until each had
  joined.

`others`, `ends` and `reads` print `ready` when all are connected. Clients that take part in nothing
else answer nothing: no ping, and no forward.
"""

import json
import re
import selectors
import socket
import sys
import time
from urllib.parse import urlsplit

from attrs import define

from tests.server.raw import RawClient

OTHERS = 20
ADDRESSES = 50
ANSWERED = re.compile(rb'"type":"synced","id":"(\d+)"')
TOLD = b"\x88\x06\x0f\xa1"
"""The head of a close frame with code 4001, and no words but `idle`."""


def masked(text: bytes, opcode: int = 1) -> bytes:
    """Return a client's frame, masked with zeros."""
    assert len(text) < 126
    return bytes([0x80 + opcode, 0x80 + len(text)]) + bytes(4) + text


def join(url: str) -> socket.socket:
    client = RawClient(url)
    client.say(type="join")
    client.hear()
    return client.socket


def say_ready() -> None:
    # By one write, also where Python's output isn't buffered.
    sys.stdout.write("ready\n")
    sys.stdout.flush()


def use_others(url: str, rate: float) -> list[float]:
    selector = selectors.DefaultSelector()
    clients = [join(f"{url}/gatherings/other-{number}") for number in range(OTHERS)]
    selector.register(sys.stdin, selectors.EVENT_READ)
    for client in clients:
        selector.register(client, selectors.EVENT_READ)
    say_ready()
    sys.stdin.readline()
    took: list[float] = []
    sent: list[float] = []
    due = time.perf_counter()
    while True:
        for key, _ in selector.select(max(0.0, due - time.perf_counter())):
            if key.fileobj is sys.stdin:
                return took
            assert isinstance(key.fileobj, socket.socket)
            data = key.fileobj.recv(65536)
            assert data, "another's connection was closed"
            now = time.perf_counter()
            took += [now - sent[int(one[1])] for one in ANSWERED.finditer(data)]
        while due <= time.perf_counter():
            number = len(sent)
            text = json.dumps({"type": "sync", "id": str(number), "base": 0, "ops": [{"n": 1}]})
            sent.append(time.perf_counter())
            clients[number % OTHERS].send(masked(text.encode()))
            due += 1 / rate


def wait_for_ends(url: str, count: int) -> list[float]:
    selector = selectors.DefaultSelector()
    told_at = [0.0] * count
    for number in range(count):
        client = join(f"{url}/gatherings/room-{number}")
        selector.register(client, selectors.EVENT_READ, number)
    say_ready()
    left = count
    while left:
        events = selector.select()
        now = time.perf_counter()
        for key, _ in events:
            assert isinstance(key.fileobj, socket.socket)
            data = key.fileobj.recv(4096)
            if TOLD in data:
                told_at[key.data] = now
                key.fileobj.send(masked(b"\x0f\xa1", 8))
            elif not data:
                assert told_at[key.data], "closed without notice"
                selector.unregister(key.fileobj)
                key.fileobj.close()
                left -= 1
    return told_at


def read_once(url: str, count: int) -> None:
    address = urlsplit(url)
    selector = selectors.DefaultSelector()
    for _ in range(count):
        client = socket.create_connection((address.hostname, address.port))
        selector.register(client, selectors.EVENT_READ)
    say_ready()
    while count:
        for key, _ in selector.select():
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.recv(4096)
            selector.unregister(key.fileobj)
            count -= 1


@define
class Returning:
    """One that returns, and what it has got."""

    number: int
    has: bytes = b""


def return_all(url: str, count: int) -> list[float]:
    address = urlsplit(url)
    selector = selectors.DefaultSelector()
    joined: list[float] = []
    start = time.perf_counter()
    for number in range(count):
        client = socket.socket()
        # Only so many from one address may shake hands at the same time.
        client.bind((f"127.0.1.{number % ADDRESSES + 1}", 0))
        client.setblocking(False)
        client.connect_ex((address.hostname, address.port))
        selector.register(client, selectors.EVENT_WRITE, Returning(number))
    while len(joined) < count:
        for key, mask in selector.select():
            one, state = key.fileobj, key.data
            assert isinstance(one, socket.socket)
            if mask & selectors.EVENT_WRITE:
                one.send(
                    f"GET /gatherings/room-{state.number} HTTP/1.1\r\nHost: {address.netloc}\r\n"
                    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
                )
                selector.modify(one, selectors.EVENT_READ, state)
                continue
            data = one.recv(65536)
            assert data, "refused"
            had_shaken_hands = b"\r\n\r\n" in state.has
            state.has += data
            if not had_shaken_hands and b"\r\n\r\n" in state.has:
                one.send(masked(b'{"type":"join","since":0}'))
            if b'"joined"' in data:
                joined.append(time.perf_counter() - start)
                # It stays connected, as long as this process lives.
                state.has = b""
                selector.modify(one, selectors.EVENT_READ, state)
    return joined


def main() -> None:
    what, url, number = sys.argv[1:]
    if what == "reads":
        read_once(url, int(number))
        return
    if what == "others":
        found = use_others(url, float(number))
    else:
        found = (wait_for_ends if what == "ends" else return_all)(url, int(number))
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
