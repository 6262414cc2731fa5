"""Presence: what each client of a crowd is sent while all come within a second, and go again.

It runs in virtual time: what counts are messages and bytes, as JSON. Beside it stands what telling
each coming and going to everybody at once would have sent, and its ratio.

    python -m benchmarks.presence --clients 10000
"""

import argparse
import time

import trio
from attrs import define
from trio.testing import MockClock

from squire_gatherings import (
    CloseCode,
    Connection,
    Hall,
    Identity,
    Leave,
    Membership,
    Outgoing,
    Presence,
    open_hall,
)
from squire_gatherings._wire.codecs import JSON

ONE_BY_ONE = 64
"""About how many bytes a message has that tells of one user."""


@define(eq=False)
class Counting(Connection):
    """A connection that counts what it is sent of presence."""

    messages: int = 0
    bytes: int = 0
    largest: int = 0

    def send(self, outgoing: Outgoing) -> None:
        """Count a message."""
        if not isinstance(outgoing.message, Presence):
            return
        encoded = outgoing.encoded.get("json")
        if encoded is None:
            encoded = outgoing.encoded["json"] = JSON.encode(outgoing)
        self.messages += 1
        self.bytes += len(encoded)
        self.largest = max(self.largest, len(encoded))

    def close(self, code: CloseCode, reason: str) -> None:
        """Take the close."""


def show(what: str, crowd: list[Counting], one_by_one: float) -> None:
    messages = [one.messages for one in crowd]
    sent = [one.bytes for one in crowd]
    naive = one_by_one * ONE_BY_ONE
    print(
        f"{what:<12}{len(crowd):>8,}{sum(messages) / len(crowd):>10.1f}{max(messages):>6}"
        f"{sum(sent) / len(crowd):>12,.0f}{max(sent):>10,}{naive:>14,.0f}"
        f"{naive * len(crowd) / max(1, sum(sent)):>8,.0f}"
    )
    for one in crowd:
        one.messages = one.bytes = 0


async def come(hall: Hall, clients: int) -> tuple[list[Membership], list[Counting]]:
    crowd = [Counting() for _ in range(clients)]
    memberships: list[Membership] = []
    began = trio.current_time()
    for number, one in enumerate(crowd):
        await trio.sleep_until(began + number / clients)
        user = Identity(f"user {number}")
        memberships.append(await hall.join("hall", one, identity=user, presence={}))
    return memberships, crowd


async def run(clients: int) -> None:
    async with open_hall(presence=True, max_connections_per_gathering=None) as hall:
        memberships, crowd = await come(hall, clients)
        await trio.sleep(10)
        # Each is told of those before it, and of those after it.
        show("all come", crowd, clients)
        stay = max(1, clients // 100)
        began = trio.current_time()
        for number, membership in enumerate(memberships[stay:]):
            await trio.sleep_until(began + number / clients)
            await membership.deliver(Leave())
        await trio.sleep(10)
        show("99 % go", crowd[:stay], clients - stay)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=10_000)
    options = parser.parse_args()
    print(f"{'':<12}{'clients':>8}{'messages':>10}{'most':>6}{'bytes':>12}{'most':>10}", end="")
    print(f"{'one by one':>14}{'ratio':>8}")
    for clients in sorted({100, 1000, options.clients}):
        began = time.process_time()
        trio.run(run, clients, clock=MockClock(autojump_threshold=0))
        spent = (time.process_time() - began) / clients * 1e6
        print(f"{'':<12}all of it took {spent:.0f} us of a processor for each client")


if __name__ == "__main__":
    main()
