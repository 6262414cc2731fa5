"""An innocent visitor beside the crowd: how its syncs are answered, and when its gatherings end.

Up to twenty times a second it sends a sync and waits for the answer. As often it opens a gathering
in which it says nothing, so that it is due after the idle timeout. It prints a line of JSON for
each, as long as it runs: the moment, what it was, and how many seconds it took or was late: `late`
when the notice came, `decided` by the server's own clock. `refused` is a gathering that couldn't be
opened.
"""

import argparse
import asyncio
import json
import time

import uvloop
from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

PAUSE = 0.05
HOST = "127.0.2.1"


def tell(what: str, seconds: float) -> None:
    print(json.dumps([time.time(), what, seconds]), flush=True)


class Visitor(WSListener):  # type: ignore[misc,unused-ignore]
    """One connection; it reads what it is sent in order."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        self.transport: WSTransport

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        self.say('{"type":"join"}')

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            self.heard.put_nowait((time.perf_counter(), frame.get_payload_as_bytes()))
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()

    def say(self, text: str) -> None:
        self.transport.send(WSMsgType.TEXT, text.encode())

    async def hear(self, kind: str) -> tuple[float, dict[str, float]]:
        """Wait for a message of this kind; return when it came, and the message."""
        while True:
            moment, data = await self.heard.get()
            message = json.loads(data)
            if message["type"] == kind:
                return moment, message


async def visit(url: str, gathering: str) -> Visitor:
    visitor = Visitor()
    await ws_connect(lambda: visitor, f"{url}/gatherings/{gathering}", local_addr=(HOST, 0))
    return visitor


async def probe(url: str) -> None:
    # The visitor comes before there is a load.
    visitor = await visit(url, "probe")
    _, joined = await visitor.hear("joined")
    seq = int(joined["seq"])
    number = 0
    while True:
        number += 1
        sent = time.perf_counter()
        visitor.say(f'{{"type":"sync","id":"{number}","base":{seq},"ops":[{{}}]}}')
        moment, _ = await visitor.hear("synced")
        seq += 1
        visitor.say(f'{{"type":"ack","seq":{seq}}}')
        tell("probe", moment - sent)
        await asyncio.sleep(PAUSE)


async def ending(url: str, number: int) -> None:
    begin = time.perf_counter()
    try:
        visitor = await visit(url, f"ending-{time.monotonic_ns():x}-{number}")
    except (OSError, TimeoutError, WSError):
        tell("refused", time.perf_counter() - begin)
        return
    moment, joined = await visitor.hear("joined")
    tell("join", moment - begin)
    due = moment + joined["expires_in"]
    moment, dispersed = await visitor.hear("dispersed")
    tell("late", moment - due)
    tell("decided", dispersed["idle_for"] - joined["idle_timeout"])


async def endings(url: str) -> None:
    async with asyncio.TaskGroup() as group:
        number = 0
        while True:
            number += 1
            group.create_task(ending(url, number))
            await asyncio.sleep(PAUSE)


async def run(url: str) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(probe(url))
        group.create_task(endings(url))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(options.url))


if __name__ == "__main__":
    main()
