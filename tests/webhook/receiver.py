"""A receiver of webhooks on a thread: it checks each signature by the standard library alone."""

import hashlib
import hmac
import json
import sys
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from attrs import define, field

from squire_gatherings._values.events import EventKind, LifecycleEvent

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TOLERANCE = 60


def is_signed(headers: Any, body: bytes, secret: str) -> bool:
    """Check a message as a receiver does, by the text of the specification."""
    key = b64decode(secret.partition("_")[2])
    said = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = b64encode(hmac.new(key, said, hashlib.sha256).digest()).decode()
    given = [one.partition(",") for one in headers["webhook-signature"].split(" ")]
    is_new = abs(time.time() - int(headers["webhook-timestamp"])) < TOLERANCE
    return is_new and any(
        version == "v1" and hmac.compare_digest(signature, expected)
        for version, _, signature in given
    )


@define(eq=False)
class Receiver:
    """What was received, and what is answered."""

    secrets: list[str] = field(factory=lambda: [SECRET])
    """What it knows: a message must be signed with one of these."""
    url: str = ""
    messages: list[tuple[str, bytes, list[LifecycleEvent]]] = field(factory=list)
    """The id and the body of each message, and its events, whatever it was answered."""
    taken: list[LifecycleEvent] = field(factory=list)
    """The events of those that were answered with 2xx."""
    answers: list[tuple[int, dict[str, str]]] = field(factory=list)
    """What the next messages are answered; after that 204."""
    delay: float = 0.0
    faults: list[str] = field(factory=list)
    connections: int = 0
    requests: list[tuple[str, str]] = field(factory=list)
    """The method and the path of each."""
    headers: dict[str, str] = field(factory=dict)
    """Those of the last message."""
    arrived: threading.Condition = field(factory=threading.Condition)

    def receive(self, headers: Any, body: bytes) -> tuple[int, dict[str, str]]:
        """Take a message; return what it is answered."""
        if not any(is_signed(headers, body, secret) for secret in self.secrets):
            self.faults.append("a message isn't signed, or not now")
        said = json.loads(body)
        if said["type"] != "gatherings.events":
            self.faults.append(f"type {said['type']}")
        events = [_event(one) for one in said["data"]["events"]]
        time.sleep(self.delay)
        with self.arrived:
            self.headers = dict(headers.items())
            self.messages.append((headers["webhook-id"], body, events))
            answer = self.answers.pop(0) if self.answers else (204, {})
            if 200 <= answer[0] < 300:
                self.taken += events
            self.arrived.notify_all()
        return answer

    def wait_for(self, count: int, seconds: float = 20.0) -> None:
        """Wait until so many events were taken."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.taken) >= count, seconds), self.taken


def _event(said: dict[str, Any]) -> LifecycleEvent:
    kind = EventKind(said.pop("kind"))
    return LifecycleEvent(kind=kind, **said)


@contextmanager
def receiving(**settings: Any) -> Iterator[Receiver]:
    """Receive webhooks on this machine."""
    receiver = Receiver(**settings)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            receiver.connections += 1

        def do_POST(self) -> None:
            receiver.requests.append((self.command, self.path))
            size = self.headers["content-length"]
            body = b"" if size is None else self.rfile.read(int(size))
            if size is None or len(body) < int(size):
                # The sender was killed.
                self.close_connection = True
                return
            status, headers = receiver.receive(self.headers, body)
            said = b"" if status == 204 else b"x" * 100
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            error = sys.exception()
            if not isinstance(error, ConnectionError):
                receiver.faults.append(repr(error))

    server = Server(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook?x=1"
    thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert not receiver.faults, receiver.faults[:3]
