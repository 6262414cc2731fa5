"""The senders: one process with many connections, which send a given number of syncs a second.

They go by the clock, not by the answers: what is due is sent, whether earlier ones are answered or
not. But each has a window, as any client that keeps what isn't answered: while so many of its syncs
wait, it sends nothing, and what was due counts as held back. The result is one line of JSON.
"""

import argparse
import asyncio
import json
import time
from collections import Counter
from typing import Any

import uvloop
from attrs import define, field
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

WINDOW = 32
"""The number of a connection's syncs that may wait for their answers."""
TICK = 0.005
ACK_EVERY = 0.1
COMES_BACK_AFTER = 1.0
"""Seconds until a connection that was closed or refused tries again."""
ADDRESSES = 16
"""The number of this machine's addresses that they connect from."""
GIVE_UP_AFTER = 10.0

_SYNCED = b'{"type":"synced","id":"'
_ERROR = b'{"type":"error"'


@define(eq=False)
class Tally:
    """What was due, what was sent, and what was answered, between two moments."""

    begin: float = 0.0
    end: float = 0.0
    offered: int = 0
    held_back: int = 0
    sent: int = 0
    served: int = 0
    latencies: list[float] = field(factory=list)
    """Seconds from when a sync was due until it was answered."""
    refused: Counter[str] = field(factory=Counter)

    def counts(self, moment: float) -> bool:
        return self.begin <= moment < self.end


class Sender(WSListener):  # type: ignore[misc,unused-ignore]
    """One connection to one gathering."""

    def __init__(self, tally: Tally, number: int) -> None:
        self.tally = tally
        self.number = number
        self.joined = asyncio.Event()
        self.ended = asyncio.Event()
        self.waiting: dict[int, float] = {}
        """When each unanswered sync was due."""
        self.seq = self.acked = 0
        self.sent = 0
        self.transport: WSTransport

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        self.say('{"type":"join","tail":true}')

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.ended.set()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            self.tally.refused[f"close {frame.get_close_code():d}"] += 1
            transport.disconnect()
            return
        data = frame.get_payload_as_bytes()
        if data.startswith(_SYNCED):
            self.answered(data)
        elif data.startswith(_ERROR):
            error = json.loads(data)
            self.tally.refused[error["code"]] += 1
            self.waiting.pop(int(error.get("id") or -1), None)
        elif not self.joined.is_set():
            message = json.loads(data)
            if message["type"] == "joined":
                self.seq = self.acked = message["seq"]
                self.joined.set()
        elif (at := data.find(b'"seq":')) >= 0:
            self.seq = max(self.seq, int(data[at + 6 : at + 26].split(b",")[0].rstrip(b"}")))

    def answered(self, data: bytes) -> None:
        start = len(_SYNCED)
        number = int(data[start : data.index(b'"', start)])
        at = data.index(b"[") + 1
        self.seq = max(self.seq, int(data[at : data.index(b"]", at)].split(b",")[-1]))
        due = self.waiting.pop(number, None)
        now = time.perf_counter()
        if due is not None and self.tally.counts(now):
            self.tally.served += 1
            self.tally.latencies.append(now - due)

    def say(self, text: str) -> None:
        self.transport.send(WSMsgType.TEXT, text.encode())

    def submit(self, due: float, now: float) -> None:
        """Send what is due, unless too much waits."""
        tally = self.tally
        counts = tally.counts(now)
        tally.offered += counts
        if len(self.waiting) >= WINDOW or not self.joined.is_set() or self.ended.is_set():
            tally.held_back += counts
            return
        tally.sent += counts
        self.sent += 1
        self.waiting[self.sent] = due
        self.say(
            f'{{"type":"sync","id":"{self.sent}","base":{self.seq},"ops":[{{"n":{self.sent}}}]}}'
        )

    def acknowledge(self) -> None:
        if self.seq > self.acked and not self.ended.is_set():
            self.acked = self.seq
            self.say(f'{{"type":"ack","seq":{self.seq}}}')


async def stay(url: str, senders: list[Sender], number: int, gathering: str, tally: Tally) -> None:
    """Keep a connection of this number in a gathering, and come back when it ends."""
    host = f"127.0.1.{1 + number % ADDRESSES}"
    sender = senders[number]
    while True:
        try:
            await asyncio.wait_for(
                ws_connect(
                    lambda: sender,  # noqa: B023
                    f"{url}/gatherings/{gathering}",
                    local_addr=(host, 0),
                ),
                GIVE_UP_AFTER,
            )
            await sender.ended.wait()
        except Exception as error:
            tally.refused[f"no connection: {type(error).__name__}"] += 1
        await asyncio.sleep(COMES_BACK_AFTER)
        sender = senders[number] = Sender(tally, number)


async def acknowledge(senders: list[Sender]) -> None:
    while True:
        for start in range(0, len(senders), 50):
            for sender in senders[start : start + 50]:
                if sender.joined.is_set():
                    sender.acknowledge()
            await asyncio.sleep(ACK_EVERY * 50 / len(senders))


async def run(options: argparse.Namespace) -> dict[str, Any]:
    tally = Tally()
    senders = [Sender(tally, number) for number in range(options.connections)]
    tasks = [
        asyncio.create_task(
            stay(options.url, senders, number, f"{options.name}-{number // options.each}", tally)
        )
        for number in range(options.connections)
    ]
    tasks.append(asyncio.create_task(acknowledge(senders)))
    for sender in senders:
        await asyncio.wait_for(sender.joined.wait(), GIVE_UP_AFTER)
    begin = time.perf_counter()
    tally.begin = begin + options.warm
    tally.end = tally.begin + options.seconds
    done = 0
    while (now := time.perf_counter()) < tally.end:
        due = int((now - begin) * options.rate)
        for number in range(done, due):
            senders[number % len(senders)].submit(begin + number / options.rate, now)
        done = due
        await asyncio.sleep(TICK)
    print("stopped", flush=True)
    for task in tasks:
        task.cancel()
    found = sorted(tally.latencies) or [float("nan")]
    return {
        "offered": tally.offered / options.seconds,
        "held_back": tally.held_back / options.seconds,
        "sent": tally.sent / options.seconds,
        "served": tally.served / options.seconds,
        "p50": found[len(found) // 2],
        "p99": found[len(found) * 99 // 100],
        "refused": tally.refused,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--name", default="room")
    parser.add_argument("--rate", type=float, default=1000.0, help="syncs a second")
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--each", type=int, default=2, help="connections to a gathering")
    parser.add_argument("--warm", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(run(options))))


if __name__ == "__main__":
    main()
