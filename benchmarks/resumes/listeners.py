"""Our own authors and listeners, with `squire_gatherings.client`; see `catalogue.Library`."""

import json
import sys

import trio
from attrs import define, field

from squire_gatherings.client import Client, Gathering, open_client

PATIENCE = 20.0
"""Seconds after which a listener is given up."""

SETTLING = 0.2
"""Seconds in which an event could still come twice."""


@define
class Heard:
    """What a listener heard."""

    numbers: list[int] = field(factory=list)
    ended: bool = False
    has_all: trio.Event = field(factory=trio.Event)

    async def listen(self, gathering: Gathering, events: int) -> None:
        """Hear what is said until the gathering ends."""
        async for change in gathering:
            self.numbers.append(int(change.op["n"]))
            if change.op["n"] == events:
                self.has_all.set()
        self.ended = True


async def be_there(
    through: Client, direct: Client, room: str, events: int, gap: float, gate: trio.Semaphore
) -> None:
    """Have a listener and an author in one room, and tell what the listener heard."""
    heard = Heard()
    with trio.move_on_after(PATIENCE):
        async with through.join(room) as gathering, trio.open_nursery() as nursery:

            async def end() -> None:
                await heard.listen(gathering, events)
                nursery.cancel_scope.cancel()

            nursery.start_soon(end)
            async with direct.join(room) as author:
                for number in range(1, events + 1):
                    await author.submit({"n": number, "text": f"EVENT-{number}"})
                    await trio.sleep(gap)
            if not room.startswith("ending"):
                await heard.has_all.wait()
                await trio.sleep(SETTLING)
                nursery.cancel_scope.cancel()
    print(json.dumps({"room": room, "heard": heard.numbers, "ended": heard.ended}), flush=True)
    gate.release()


async def main(proxy: str, server: str, events: int, gap: float, at_once: int) -> None:
    gate = trio.Semaphore(at_once)
    async with (
        open_client(proxy, first_pause=0.1, join_patience=PATIENCE, close_timeout=1.0) as through,
        open_client(server) as direct,
        trio.open_nursery() as nursery,
    ):
        for line in sys.stdin.read().split():
            await gate.acquire()
            nursery.start_soon(be_there, through, direct, line, events, gap, gate)


if __name__ == "__main__":
    _, proxy, server, events, gap, at_once = sys.argv
    trio.run(main, proxy, server, int(events), float(gap), int(at_once))
