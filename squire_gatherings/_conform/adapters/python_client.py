"""The adapter of the Python client; run by `python -m`."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
import trio

from squire_gatherings.client import (
    Behaviour,
    Gathering,
    GatheringsError,
    Left,
    LogReplaced,
    TokenReason,
    open_client,
)

URL = os.environ.get("SQUIRE_URL", "")


class Ops(Behaviour):
    """A state that is the ops themselves."""

    def __init__(self) -> None:
        self.ops: list[Any] = []

    def judge(self, ops: Sequence[Any], submission: Any) -> Sequence[Any]:
        return ops

    def fold(self, op: Any, stamp: Any) -> None:
        self.ops.append(op.value)

    def snapshot(self) -> list[Any]:
        return self.ops

    def restore(self, snapshot: list[Any]) -> None:
        self.ops = snapshot


def report(kind: str, **fields: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.encode({"report": kind, **fields}) + b"\n")
    sys.stdout.buffer.flush()


async def watch(gathering: Gathering) -> None:
    """Report what others do, and how it ends."""
    while True:
        try:
            async for one in gathering:
                report("change", seq=one.seq, by=one.by, op=one.op)
        except LogReplaced:
            report("restarted")
        except Left:
            return
        except GatheringsError as error:
            report("over", error=error.code)
            return
        else:
            assert gathering.dispersed is not None
            report("ended", reason=gathering.dispersed.reason)


async def watch_presence(gathering: Gathering) -> None:
    """Report who is here, whenever that has changed."""
    view = None
    with suppress(GatheringsError):
        while True:
            view = await gathering.wait_presence(other_than=view)
            report("presence", users=list(view.users))


async def submit(gathering: Gathering, order: dict[str, Any]) -> None:
    name = order["id"]
    with suppress(Left):
        try:
            report("outcome", id=name, seqs=await gathering.submit_all(order["ops"], sync_id=None))
        except Left:
            raise
        except GatheringsError as error:
            report("outcome", id=name, error=error.code)


async def fetch(gathering: Gathering, order: dict[str, Any]) -> None:
    page = await gathering.fetch(at=order["at"], since=0)
    ops = None if page.ops is None else [op.value for op in page.ops]
    report("fetched", id=order["id"], seq=page.seq, ops=ops)


async def stay(join: dict[str, Any], orders: trio.MemoryReceiveChannel[dict[str, Any]]) -> None:
    """Be in one gathering until `leave`."""

    def token(why: TokenReason) -> str:
        said: str = join["token" if why == TokenReason.JOIN else "renew"]
        return said

    try:
        async with (
            open_client(URL, token=token, join_patience=600.0) as client,
            client.join(
                join["gathering"], behaviour=Ops, presence=join.get("presence")
            ) as gathering,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(watch, gathering)
            if "presence" in join:
                nursery.start_soon(watch_presence, gathering)
            async for order in orders:
                match order["do"]:
                    case "submit":
                        nursery.start_soon(submit, gathering, order)
                    case "fetch":
                        nursery.start_soon(fetch, gathering, order)
                    case "state":
                        report("state", ops=gathering.snapshot())
                    case "leave":
                        break
            nursery.cancel_scope.cancel()
    except* GatheringsError as group:
        report("over", error=getattr(group.exceptions[0], "code", "internal"))
        async for order in orders:
            if order["do"] == "leave":
                break
    report("left")


async def main() -> None:
    report(
        "ready",
        name="squire_gatherings.client",
        can=["state", "snapshot", "fetch", "renew", "presence"],
        encodings=["json"],
    )
    send, receive = trio.open_memory_channel[dict[str, Any]](1000)
    lines = trio.lowlevel.FdStream(os.dup(sys.stdin.fileno()))
    rest = b""
    async with trio.open_nursery() as nursery:
        async for data in lines:
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                order = msgspec.json.decode(line)
                if order["do"] == "join":
                    nursery.start_soon(partial(stay, order, receive))
                else:
                    await send.send(order)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
