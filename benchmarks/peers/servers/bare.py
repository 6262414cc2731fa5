"""The floor: one thread, `epoll`, a loop of `send` on each socket, and next to nothing else.

No library serves like this: no library parses frames like this (small whole ones, well-formed, from
a client that means well), none blocks on a slow reader, or has no timeouts and no tasks. It shows
what the system calls cost from Python.
"""

import base64
import hashlib
import selectors
import socket
from collections import defaultdict
from collections.abc import Iterator

from attrs import define

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
selector = selectors.DefaultSelector()
rooms: "dict[bytes, list[Client]]" = defaultdict(list)


@define(eq=False)
class Client:
    socket: socket.socket
    path: bytes = b""
    buffer: bytes = b""

    def read(self) -> None:
        try:
            data = self.socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.leave()
        elif not self.path:
            self.shake_hands(data)
        else:
            room = (self,) if self.path.startswith(b"/echo/") else rooms[self.path]
            self.buffer += data
            for frame in self.frames():
                for one in room:
                    write_all(one.socket, frame)

    def shake_hands(self, data: bytes) -> None:
        headers = dict(line.split(b": ", 1) for line in data.split(b"\r\n") if b": " in line)
        [key] = [value for name, value in headers.items() if name.lower() == b"sec-websocket-key"]
        accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest())
        self.path = data.split(b" ", 2)[1]
        rooms[self.path].append(self)
        self.socket.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + b"\x81\x02hi"
        )

    def frames(self) -> Iterator[bytes]:
        """Yield the server's frame for each whole client's frame in the buffer."""
        while len(self.buffer) >= 14:
            size, start = self.buffer[1] & 0x7F, 2
            if size > 125:
                start = 4 if size == 126 else 10
                size = int.from_bytes(self.buffer[2:start], "big")
            end = start + 4 + size
            if len(self.buffer) < end:
                return
            mask = (self.buffer[start : start + 4] * (size // 4 + 1))[:size]
            masked = int.from_bytes(self.buffer[start + 4 : end], "big")
            plain = (masked ^ int.from_bytes(mask, "big")).to_bytes(size, "big")
            yield bytes((self.buffer[0], self.buffer[1] & 0x7F)) + self.buffer[2:start] + plain
            self.buffer = self.buffer[end:]

    def leave(self) -> None:
        selector.unregister(self.socket)
        self.socket.close()
        if self in rooms[self.path]:
            rooms[self.path].remove(self)


def write_all(to: socket.socket, data: bytes) -> None:
    try:
        sent = to.send(data)
    except BlockingIOError:
        sent = 0
    except OSError:
        return
    if sent < len(data):
        to.setblocking(True)
        to.sendall(data[sent:])
        to.setblocking(False)


listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
listener.setblocking(False)
selector.register(listener, selectors.EVENT_READ)
print(f"ws://127.0.0.1:{listener.getsockname()[1]}", flush=True)
while True:
    for key, _ in selector.select():
        if isinstance(key.data, Client):
            key.data.read()
            continue
        accepted, _ = listener.accept()
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(accepted, selectors.EVENT_READ, Client(accepted))
