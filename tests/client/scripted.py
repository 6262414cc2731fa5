"""Servers that follow a script: each connection of a client meets the next one."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio
import wsproto
from attrs import define, field
from trio.testing import memory_stream_pair
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Ping,
    Request,
    TextMessage,
)

from squire_gatherings._hall.nurseries import open_hidden_nursery
from squire_gatherings.client import Client, open_client
from tests.client.world import ROOM


class HungUp(Exception):
    """The client is gone."""


def joined(**more: Any) -> dict[str, Any]:
    """Return a `joined` for an empty gathering, with these fields changed."""
    message = {
        "type": "joined",
        "gathering": ROOM,
        "incarnation": "i1",
        "seq": 0,
        "role": "member",
        "user": None,
        "idle_timeout": 60.0,
        "expires_in": 60.0,
    }
    if "snapshot" not in more:
        message |= {"ops": [], "by": []}
    return message | more


def forward(seq: int, **more: Any) -> dict[str, Any]:
    return {"type": "forward", "seq": seq, "by": None, "op": {"n": seq}} | more


def synced(sync: dict[str, Any], *seqs: int, **more: Any) -> dict[str, Any]:
    return {"type": "synced", "id": sync["id"], "seqs": list(seqs)} | more


def fetched(fetch: dict[str, Any], seq: int, *numbers: int, **more: Any) -> dict[str, Any]:
    ops, by = [{"n": number} for number in numbers], [None] * len(numbers)
    return {
        "type": "fetched",
        "id": fetch["id"],
        "seq": seq,
        "ops": ops,
        "by": by,
    } | more


def error(code: str, request: dict[str, Any] | None = None) -> dict[str, Any]:
    message = {"type": "error", "code": code, "message": f"that's {code}"}
    return message if request is None else message | {"id": request["id"]}


def dispersed(reason: str = "idle", **more: Any) -> dict[str, Any]:
    return {
        "type": "dispersed",
        "gathering": ROOM,
        "incarnation": "i1",
        "reason": reason,
        "seq": 0,
        "idle_for": 60.0,
    } | more


@define(eq=False)
class Peer:
    """A client as its server sees it."""

    stream: trio.abc.Stream
    heard: list[dict[str, Any]] = field(factory=list)
    pong_delay: float = 0.0
    _protocol: wsproto.WSConnection = field(
        factory=lambda: wsproto.WSConnection(wsproto.ConnectionType.SERVER)
    )

    async def shake_hands(self) -> None:
        while True:
            for event in self._protocol.events():
                if isinstance(event, Request):
                    accept = AcceptConnection(subprotocol="squire.v1+json")
                    await self.stream.send_all(self._protocol.send(accept))
                    return
            await self._feed()

    async def hear(self, kind: str | None = None) -> dict[str, Any]:
        """Wait for the next message, or for the next of that kind."""
        while True:
            while not self.heard:
                await self._feed()
                for event in self._protocol.events():
                    if isinstance(event, TextMessage):
                        self.heard.append(json.loads(event.data))
                    elif isinstance(event, Ping):
                        await trio.sleep(self.pong_delay)
                        await self.stream.send_all(self._protocol.send(event.response()))
                    elif isinstance(event, CloseConnection):
                        raise HungUp
            message = self.heard.pop(0)
            if kind is None or message["type"] == kind:
                return message

    async def _feed(self) -> None:
        data = bytes(await self.stream.receive_some())
        if not data:
            raise HungUp
        self._protocol.receive_data(data)

    async def say(self, *messages: dict[str, Any] | str) -> None:
        for message in messages:
            text = message if isinstance(message, str) else json.dumps(message)
            await self.stream.send_all(self._protocol.send(TextMessage(data=text)))

    async def close(self, code: int, reason: str = "") -> None:
        await self.stream.send_all(self._protocol.send(CloseConnection(code, reason)))
        await self.stream.aclose()

    async def drop(self) -> None:
        await self.stream.aclose()

    async def wait(self) -> None:
        """Read what comes until the client is gone."""
        with suppress(HungUp):
            await self.hear("nothing")


Script = Callable[[Peer], Awaitable[None]]


@asynccontextmanager
async def a_client(*scripts: Script, **settings: Any) -> AsyncIterator[Client]:
    """Give a client whose connections meet these scripts in turn; after them nobody listens."""
    left = list(scripts)
    async with open_hidden_nursery() as nursery:

        async def connect() -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            if not left:
                raise ConnectionRefusedError(111, "Connection refused")
            ours, theirs = memory_stream_pair()
            nursery.start_soon(run, left.pop(0), theirs)
            return ours

        async def run(script: Script, stream: trio.abc.Stream) -> None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError, HungUp):
                peer = Peer(stream)
                await peer.shake_hands()
                await script(peer)

        try:
            async with open_client("ws://memory", open_stream=connect, **settings) as client:
                yield client
        finally:
            nursery.cancel_scope.cancel()
