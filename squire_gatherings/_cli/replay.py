"""`replay`: prints the ops of a log again, in the rhythm in which they were committed."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TypeVar

import click
import trio
from attrs import frozen

from squire_gatherings._cli.options import ENVIRONMENT, HEADERS, SPEED, TOKEN, option
from squire_gatherings._cli.printing import print_line
from squire_gatherings._cli.whole_logs import existing
from squire_gatherings._rules.links import cut
from squire_gatherings._stores import offline
from squire_gatherings._stores.logs import Logs
from squire_gatherings._values.log import Append
from squire_gatherings._values.op import Op
from squire_gatherings.client import open_client

T = TypeVar("T")

PAGE_BYTES = 1 << 18
"""How many bytes of ops are read at once."""


@frozen
class _Played:
    seq: int
    time: int
    by: str | None
    op: str
    """As JSON."""


@click.command("replay", context_settings=ENVIRONMENT)
@click.argument("source", metavar="URL|STORE")
@click.argument("gathering_id", metavar="ID")
@option("--speed", default="1", type=SPEED, help="How many times as fast; max: without pauses.")
@option("--since", type=click.IntRange(0), default=0, help="Begin after this seq.")
@option("--until", type=click.IntRange(1), help="End with this seq. Default: the last one.")
@TOKEN
@HEADERS
def replay(
    source: str,
    gathering_id: str,
    speed: float | None,
    since: int,
    until: int | None,
    token: str | None,
    headers: tuple[tuple[str, str], ...],
) -> None:
    """Print the ops of the gathering ID again, in their own rhythm, and end with the last one.

    They come from a server (ws://HOST:PORT) or from a store (sqlite:///PATH, the PATH,
    postgresql://...), up to what was the last op when it began. Each is a line of JSON: seq, time
    (milliseconds since 1970, UTC), by, op. Ops from before there were times come without a pause.

    \b
    Examples:
      squire-gatherings replay rooms.sqlite3 friday-night --speed 10
      squire-gatherings replay ws://127.0.0.1:8765 friday-night --speed max
    """
    if source.startswith(("ws:", "wss:")):
        opening = _from_server(source, gathering_id, since, until, token, dict(headers))
    else:
        opening = _from_store(source, gathering_id, since, until)
    trio.run(partial(_replay, opening, speed), restrict_keyboard_interrupt_to_checkpoints=True)


async def _replay(
    opening: AbstractAsyncContextManager[AsyncIterator[_Played]], speed: float | None
) -> None:
    async with opening as ops:
        began, first = 0.0, 0
        async for one in ops:
            if speed is not None and one.time:
                now = time.monotonic()
                if not first:
                    began, first = now, one.time
                wait = began + (one.time - first) / 1000 / speed - now
                await trio.sleep(max(0.0, wait))
            by = Op.of({"by": one.by}).json.decode()[1:-1]
            print_line(f'{{"seq":{one.seq},"time":{one.time},{by},"op":{one.op}}}')


@asynccontextmanager
async def _from_server(
    url: str,
    gathering_id: str,
    since: int,
    until: int | None,
    token: str | None,
    headers: dict[str, str],
) -> AsyncIterator[AsyncIterator[_Played]]:
    async with (
        open_client(url, token=token, headers=headers) as client,
        client.join(gathering_id, behaviour=None, since=since, times=True) as gathering,
    ):

        async def ops() -> AsyncIterator[_Played]:
            last = gathering.seq if until is None else min(until, gathering.seq)
            if since >= last:
                return
            async for change in gathering:
                if change.seq <= last:
                    op = Op.of(change.op).json.decode()
                    yield _Played(change.seq, change.time, change.by, op)
                if change.seq >= last:
                    return

        yield ops()


@asynccontextmanager
async def _from_store(
    store: str, gathering_id: str, since: int, until: int | None
) -> AsyncIterator[AsyncIterator[_Played]]:
    def looked(function: Callable[[Logs], T]) -> T:
        return offline.looked(store, function, _never, gathering_id)

    info = looked(lambda logs: existing(logs, gathering_id))
    last = info.seq if until is None else min(until, info.seq)

    def read(after: int, logs: Logs) -> tuple[Append, ...]:
        return logs.read_links(gathering_id, after, last, PAGE_BYTES)

    async def ops() -> AsyncIterator[_Played]:
        # Reading begins where the append begins that has the first op.
        after = offline.looked(
            store, lambda logs: logs.end_of_append(gathering_id, since), _never, gathering_id
        )
        after = max(after, info.first_seq - 1)
        while after < last:
            page = looked(partial(read, after))
            for link in cut(page, last, gathering_id, b""):
                for seq, one in enumerate(link.ops, start=link.first_seq):
                    if seq > since:
                        yield _Played(seq, one.time, one.by, one.json.decode())
                after = max(after, link.last_seq)
            if not page:
                return

    yield ops()


def _never() -> bool:
    return False
