"""The process of clients: one in each room, which says one thing; a line of JSON tells of each."""

import argparse
import asyncio
import json
import time

import aiohttp
import uvloop
from attrs import asdict, define
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.endings.catalogue import Story
from benchmarks.endings.dialects import SPEAKS, Speaks

CONNECTING_AT_ONCE = 50
GIVE_UP_AFTER = 60.0
NOTICE = b'{"type":"dispersed"'


@define
class Stay:
    """What a client saw. Times are seconds since 1970, 0 where it didn't come to that."""

    room: str
    said: float = 0.0
    left: float = 0.0
    told: float = 0.0
    """When it had the notice, or the close frame if there is no other."""
    closed: float = 0.0
    """When the connection closed, with a close frame or without."""
    code: int | None = None
    """Of the close frame."""


class Talker(WSListener):  # type: ignore[misc,unused-ignore]
    """One connection."""

    def __init__(self, speaks: Speaks, stay: Stay) -> None:
        self.speaks = speaks
        self.stay = stay
        self.welcome = asyncio.Event()
        self.answered = asyncio.Event()
        self.gone = asyncio.Event()
        self.transport: WSTransport

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        now = time.time()
        if frame.msg_type == WSMsgType.CLOSE:
            self.stay.told = self.stay.told or now
            self.stay.closed = now
            self.stay.code = int.from_bytes(frame.get_payload_as_bytes()[:2], "big")
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif frame.msg_type == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            data = frame.get_payload_as_bytes()
            if not self.welcome.is_set():
                if self.speaks.is_welcome(data):
                    self.welcome.set()
            elif data.startswith(NOTICE):
                self.stay.told = now
            elif self.stay.said and self.speaks.is_answer(data):
                self.answered.set()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.stay.closed = self.stay.closed or time.time()
        self.gone.set()

    def say(self, message: str | bytes) -> None:
        """Send one message."""
        if isinstance(message, bytes):
            self.transport.send(WSMsgType.BINARY, message)
        else:
            self.transport.send(WSMsgType.TEXT, message.encode())


async def enter(
    url: str, speaks: Speaks, stay: Stay, http: aiohttp.ClientSession, gate: asyncio.Semaphore
) -> Talker:
    """Come into a room."""
    async with gate:
        place = await speaks.place(url, stay.room, http)
        _, talker = await ws_connect(lambda: Talker(speaks, stay), place)
        assert isinstance(talker, Talker)
        for greeting in speaks.greeting(stay.room):
            talker.say(greeting)
        await asyncio.wait_for(talker.welcome.wait(), GIVE_UP_AFTER)
        for more in speaks.once_in():
            talker.say(more)
    return talker


async def stay_in(talker: Talker, story: Story, patience: float) -> None:
    """Say one thing; then leave, or stay until the end, for so many seconds at most."""
    stay = talker.stay
    stay.said = time.time()
    talker.say(talker.speaks.message(stay.room))
    await asyncio.wait_for(talker.answered.wait(), GIVE_UP_AFTER)
    if story == "left":
        stay.left = time.time()
        talker.transport.disconnect()
        return
    try:
        await asyncio.wait_for(talker.gone.wait(), patience)
    except TimeoutError:
        talker.transport.disconnect()


async def run(
    url: str, speaks: Speaks, story: Story, count: int, over: float, patience: float
) -> list[Stay]:
    """Have a client in each of `count` rooms, one after the other, and return what each saw.

    They come within `over` seconds, or as fast as they are let in.
    """
    stays = [Stay(f"e-{number}") for number in range(count)]
    gate = asyncio.Semaphore(CONNECTING_AT_ONCE)
    start = time.time()

    async def be_there(number: int, http: aiohttp.ClientSession) -> None:
        await asyncio.sleep(start + over * number / count - time.time())
        talker = await enter(url, speaks, stays[number], http, gate)
        await stay_in(talker, story, patience)

    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(be_there(number, http))
    return stays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("dialect", choices=SPEAKS)
    parser.add_argument("story", choices=("idle", "left"))
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--over", type=float, required=True)
    parser.add_argument("--patience", type=float, required=True)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stays = runner.run(
            run(
                options.url,
                SPEAKS[options.dialect],
                options.story,
                options.count,
                options.over,
                options.patience,
            )
        )
    for one in stays:
        print(json.dumps(asdict(one)))


if __name__ == "__main__":
    main()
