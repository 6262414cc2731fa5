"""A channel in memory, and what a client at its other end says and hears."""

import json
from typing import Any

import trio
from attrs import define, field


def _pair() -> tuple[trio.MemorySendChannel[Any], trio.MemoryReceiveChannel[Any]]:
    return trio.open_memory_channel[Any](1000)


@define(eq=False)
class MemoryChannel:
    """Both ends: `receive`, `send` and `close` are the server's, the rest is the client's."""

    inward: Any = field(factory=_pair)
    outward: Any = field(factory=_pair)
    closed: list[tuple[int, str]] = field(factory=list)
    reads: bool = True
    """Whether the client takes what it is sent."""
    gone: bool = False

    async def receive(self) -> str | bytes:
        data: str | bytes = await self.inward[1].receive()
        return data

    async def send(self, data: str | bytes) -> None:
        if self.gone:
            raise trio.BrokenResourceError
        if not self.reads:
            await trio.sleep_forever()
        await self.outward[0].send(data)

    async def close(self, code: int, reason: str) -> None:
        await trio.lowlevel.checkpoint()
        self.closed.append((code, reason))
        self.outward[0].close()

    def say(self, **message: Any) -> None:
        self.inward[0].send_nowait(json.dumps(message))

    def say_raw(self, data: str | bytes) -> None:
        self.inward[0].send_nowait(data)

    async def hear(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await self.outward[1].receive())
        return message

    async def hear_rest(self) -> list[dict[str, Any]]:
        return [json.loads(data) async for data in self.outward[1]]

    def hang_up(self) -> None:
        self.gone = True
        self.inward[0].close()
