"""Targets: what comes to the port of nodes, and what a server says to a client that is relayed.

Whoever comes there is no node unless it knows the secret. What is no HTTP/2 ends a connection.
"""

from squire_gatherings._cluster.edges import Edges
from squire_gatherings._cluster.proof import MAC, MAGIC, NONCE, NotProven, Proof
from squire_gatherings._cluster.relay import STREAM_WINDOW, Arrived, Asked, Broken, Opened, Relay
from tests.fuzz.target import Target, clear

SECRET = b"s" * 32


def run_proof(data: bytes) -> None:
    """Nobody who doesn't know the secret is believed, however it is cut."""
    outcomes = set()
    for size in (1, 50, len(data) or 1):
        for proof in (Proof(SECRET, "answers"), Proof(SECRET, "asks", "answers")):
            if proof._expected is not None:
                proof.begin()
            outcome = "waits"
            try:
                for at in range(0, len(data), size):
                    assert SECRET not in proof.take(data[at : at + size])
            except NotProven as error:
                clear(error)
                outcome = "is refused"
            assert not proof.is_done
            outcomes.add((proof._expected is None, outcome))
    assert len(outcomes) == 2


def run_relay(data: bytes) -> None:
    """A node that knows the secret may still send anything."""
    if not data:
        return
    is_client, data = bool(data[0] & 1), data[1:]
    relay, other = Relay(is_client=is_client), Relay(is_client=not is_client)
    if is_client:
        relay.open(Asked(None, is_proxied=False, is_local=False, passed=0))
    greeting = other.to_send()
    relay.to_send()
    arrived = 0
    try:
        for at in range(0, len(greeting + data), 60):
            for event in relay.receive((greeting + data)[at : at + 60]):
                if isinstance(event, Opened):
                    assert not is_client
                    assert 0 <= event.asked.passed < 1000
                elif isinstance(event, Arrived):
                    arrived += len(event.data)
    except Broken as error:
        clear(error)
    # Nobody has taken any of it.
    assert arrived <= STREAM_WINDOW * (1 + len(data) // 9)
    relay.to_send()


def run_edges(data: bytes) -> None:
    """However a server's bytes are cut, a close frame fits at the same places."""
    found = []
    for size in (1, 7, len(data) or 1):
        edges = Edges()
        for at in range(0, len(data), size):
            edges.follow(data[at : at + size])
        found.append(edges.lacks_close)
    assert len(set(found)) == 1


_HELLO = MAGIC + b"n" * NONCE + b"\7answers"


def _seeds_of_relay() -> list[bytes]:
    asks, answers = Relay(is_client=True), Relay(is_client=False)
    said = [asks.to_send(), answers.to_send()]
    answers.receive(said[0])
    asks.receive(said[1])
    stream = asks.open(Asked("192.0.2.7", is_proxied=True, is_local=True, passed=1))
    asks.send(stream, memoryview(b"GET /gatherings/x HTTP/1.1\r\n"))
    asked = asks.to_send()
    answers.receive(asked)
    answers.answer(stream)
    answers.send(stream, memoryview(b"HTTP/1.1 101 \r\n\r\n"))
    answers.finish(stream)
    answered = answers.to_send()
    asks.receive(answered)
    asks.ping()
    asks.poke()
    asks.reset(stream)
    return [b"\0" + asked, b"\1" + answered, b"\0" + asks.to_send(), b"\0" + asked[:-40]]


TARGETS = (
    Target("proof", run_proof, (_HELLO, _HELLO + b"m" * MAC, _HELLO * 2), (MAGIC, b"\0" * MAC)),
    Target(
        "relay",
        run_relay,
        _seeds_of_relay(),
        (b"\0\0\0\4\1\0\0\0\0", b"squire-passed", b"\0\0\x04\x08\0\0\0\0\0\x7f\xff\xff\xff"),
    ),
    Target(
        "edges",
        run_edges,
        (
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x02hi\x89\x00\x88\x02\x03\xe8",
            b"HTTP/1.1 101 \r\n\r\n\x01\x7e\x01\x00" + b"x" * 256 + b"\x80\x00",
            b"HTTP/1.1 503 Service Unavailable\r\n\r\nno",
        ),
        (b"\x81\x7f\0\0\0\0\0\1\0\0", b"\r\n\r\n"),
    ),
)
