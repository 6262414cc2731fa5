"""Our hall as `serve` runs it, with a time for its gatherings; tells on stdout when each ended."""

import argparse
from functools import partial

import trio

from squire_gatherings import EventKind, LifecycleEvent, ServerSettings, open_hall, serve
from squire_gatherings._collector import calm_the_collector

parser = argparse.ArgumentParser()
parser.add_argument("--store", required=True)
parser.add_argument("--empty", action="store_true", help="the time counts from when all left")
parser.add_argument("seconds", type=float)
options = parser.parse_args()


async def tell(event: LifecycleEvent) -> None:
    if event.kind is EventKind.DISPERSED:
        print("ended", event.gathering.removeprefix("fan-"), event.time, flush=True)


async def main() -> None:
    async with (
        open_hall(
            store=options.store,
            idle_timeout=3600.0 if options.empty else options.seconds,
            empty_timeout=options.seconds if options.empty else None,
            on_event=tell if options.empty else None,
        ) as hall,
        trio.open_nursery() as nursery,
    ):
        limits = ServerSettings(
            max_connections_per_address=None, max_handshakes=None, max_handshakes_per_address=None
        )
        server = await nursery.start(
            partial(serve, hall, host="127.0.0.1", port=0, settings=limits)
        )
        host, port = server.addresses[0]
        print(f"ws://{host}:{port}", flush=True)


calm_the_collector()
trio.run(main)
