"""The adapter of the small client: it takes orders and gives reports, as lines of JSON."""

import asyncio
import json
import os
import sys

from examples.small_client.client import ENCODINGS, Room


def report(kind: str, **fields: object) -> None:
    """Print a report."""
    print(json.dumps({"report": kind, **fields}), flush=True)


async def main() -> None:
    """Obey, until there are no more orders."""
    report("ready", name="small client", can=["state"], encodings=list(ENCODINGS))
    room, stay = None, None
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        match order["do"]:
            case "join":
                where = order["gathering"], order["token"], order["encoding"]
                room = Room(os.environ["SQUIRE_URL"], *where, report)
                stay = asyncio.create_task(room.stay())
            case "submit":
                assert room is not None
                room.submit(order["id"], order["ops"])
            case "state":
                assert room is not None
                report("state", ops=room.ops)
            case "leave":
                assert stay is not None
                stay.cancel()
                await asyncio.wait([stay])
                report("left")


asyncio.run(main())
