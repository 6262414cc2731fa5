"""Scenarios: the work that every peer does."""

from typing import Literal

from attrs import frozen

Kind = Literal["fan", "echo"]


@frozen
class Scenario:
    """One kind of work.

    `fan`: in each of `rooms`, one author says `burst` messages, waits until all `clients`
    and itself have them, and says the next; the figure is deliveries to clients a second.
    `echo`: each of `rooms` has one client with `burst` messages in flight, which come back to
    it (for us: the sync is answered); the figure is answers a second.
    """

    name: str
    kind: Kind
    clients: int = 0
    rooms: int = 1
    burst: int = 1
    size: int = 200
    durable: bool = False
    """Whether our own server writes to SQLite; no other server is asked to."""


ALL = (
    Scenario("fan-out, 2 clients", "fan", clients=2),
    Scenario("fan-out, 10 clients", "fan", clients=10),
    Scenario("fan-out, 100 clients", "fan", clients=100),
    Scenario("fan-out, 1000 clients", "fan", clients=1000),
    Scenario("fan-out, 100 clients, bursts of 50", "fan", clients=100, burst=50),
    Scenario("fan-out, 1000 clients, bursts of 50", "fan", clients=1000, burst=50),
    Scenario("fan-out, 20 rooms of 50 clients", "fan", clients=50, rooms=20),
    Scenario("fan-out, 100 clients, 100 B", "fan", clients=100, size=100),
    Scenario("fan-out, 100 clients, 4 KiB", "fan", clients=100, size=4096),
    Scenario("fan-out, 100 clients, 64 KiB", "fan", clients=100, size=65536),
    Scenario("echo, 100 clients, 1 in flight", "echo", rooms=100),
    Scenario("echo, 100 clients, 50 in flight", "echo", rooms=100, burst=50),
    Scenario("echo, 100 clients, 1 in flight, durable", "echo", rooms=100, durable=True),
    Scenario("echo, 100 clients, 50 in flight, durable", "echo", rooms=100, burst=50, durable=True),
    Scenario("fan-out, 100 clients, durable", "fan", clients=100, durable=True),
    Scenario(
        "fan-out, 100 clients, bursts of 50, durable",
        "fan",
        clients=100,
        burst=50,
        durable=True,
    ),
)

SCALE = (
    *(Scenario(f"1 gathering of {n}", "fan", clients=n) for n in (1, 10, 100, 1000, 4000)),
    *(
        Scenario(f"{rooms} gatherings of 10", "fan", clients=10, rooms=rooms)
        for rooms in (1, 10, 100, 400)
    ),
    *(
        Scenario(f"{rooms} authors alone", "echo", rooms=rooms)
        for rooms in (1, 10, 100, 1000, 4000)
    ),
)
"""Our own server, from small to large: `python -m benchmarks.scale`."""
