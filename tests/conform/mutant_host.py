"""The adapter of all mutants, in one process: the order `become` says which one it is from now on.

An import of the library takes a tenth of a second of a processor, a process a half.
"""

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

import msgspec
import trio

from tests.conform.mutants import MUTANTS
from tests.mutating import imported_as

ADAPTER = "squire_gatherings._conform.adapters.python_client"


def become(name: str | None) -> ModuleType:
    with imported_as(None if name is None else MUTANTS[name]):
        return import_module(ADAPTER)


async def live(
    adapter: ModuleType,
    name: str,
    orders: trio.MemoryReceiveChannel[dict[str, Any]],
    life: trio.CancelScope,
) -> None:
    """Be one mutant, which does what it is told, until the next one's turn."""
    with life:
        can = ["state", "snapshot", "fetch", "renew", "presence"]
        adapter.report("ready", name=name, can=can)
        async for order in orders:
            await adapter.stay(order, orders)


def be_silent(*_: object, **__: object) -> None:
    """Report nothing."""


async def main() -> None:
    rest = b""
    async with trio.open_nursery() as nursery:
        life = trio.CancelScope()
        adapter: ModuleType | None = None

        def begin(name: str | None) -> trio.MemorySendChannel[dict[str, Any]]:
            nonlocal life, adapter
            # It may still say goodbye, and is heard no more.
            life.cancel()
            if adapter is not None:
                adapter.report = be_silent  # type: ignore[attr-defined]
            life, adapter = trio.CancelScope(), become(name)
            send, receive = trio.open_memory_channel[dict[str, Any]](1000)
            nursery.start_soon(live, adapter, name or "nobody", receive, life)
            return send

        orders = begin(None)
        async for data in trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())):
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                order = msgspec.json.decode(line)
                if order["do"] == "become":
                    orders = begin(order["mutant"])
                else:
                    await orders.send(order)
        # Nobody waits for what mutants still have to say.
        os._exit(0)


if __name__ == "__main__":
    trio.run(main)
