"""Faults between twenty clients and a real server, on real sockets and a real disk.

Our own server, in a process of its own, gets most of the faults.
"""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from squire_gatherings.client import Client, open_client
from tests.client.faulty_proxy import KINDS, open_faulty_proxy
from tests.client.world import ROOM
from tests.forked import serving
from tests.support import examples
from tests.ways_in import ways
from tests.ways_in.ways import Way, over_hypercorn, over_trio_websocket

CLIENTS = 20
IN_FLIGHT = 5
OPS_PER_FAULT = 10


async def live(client: Client, name: str, ops: int, log: dict[int, Any]) -> None:
    """Submit this client's share of all ops, several at a time, and take in the whole log."""
    async with client.join(ROOM, since=0) as gathering, trio.open_nursery() as nursery:
        numbers = iter(range(ops // CLIENTS))

        async def submit() -> None:
            for number in numbers:
                op = {"by": name, "n": number}
                seq = await gathering.submit(op)
                assert seq not in log
                log[seq] = op

        async def look_on() -> None:
            async for change in gathering:
                assert change.seq not in log
                log[change.seq] = change.op
                if len(log) == ops:
                    return

        nursery.start_soon(look_on)
        async with trio.open_nursery() as submitting:
            for _ in range(IN_FLIGHT):
                submitting.start_soon(submit)
        if len(log) == ops:
            # The last op was its own: no more changes come.
            nursery.cancel_scope.cancel()


async def meet(url: str, faults: int) -> None:
    """Let all clients meet behind a proxy with this many faults, and compare their logs."""
    ops = faults * OPS_PER_FAULT
    host, _, port = url.removeprefix("ws://").rpartition(":")
    logs: list[dict[int, Any]] = [{} for _ in range(CLIENTS)]
    settings: dict[str, Any] = {
        "join_patience": 60.0,
        "first_pause": 0.01,
        "max_pause": 0.1,
        "ping_interval": 0.25,
        "connect_timeout": 1.0,
        "close_timeout": 0.1,
    }
    async with (
        open_faulty_proxy(host, int(port), seed=1, faults=faults, spacing=20) as proxy,
        open_client(f"ws://127.0.0.1:{proxy.address[1]}", **settings) as client,
    ):
        async with trio.open_nursery() as nursery:
            for number, log in enumerate(logs):
                nursery.start_soon(live, client, f"c{number}", ops, log)
        assert proxy.faults.total() == faults
        assert all(proxy.faults[kind] >= faults // len(KINDS) for kind in KINDS)
    whole = logs[0]
    assert sorted(whole) == list(range(1, ops + 1))
    # Each op is there once: the log has as many as were submitted, and no two are the same.
    assert len({(op["by"], op["n"]) for op in whole.values()}) == ops
    assert all(log == whole for log in logs)


def test_nothing_is_lost_through_hundreds_of_faults(tmp_path: Path) -> None:
    with serving("--store", f"sqlite:///{tmp_path}/rooms.sqlite3") as (process, url):
        trio.run(partial(meet, url, faults=examples(150, long=100)))
        assert process.poll() is None


@pytest.mark.parametrize("way", [over_trio_websocket, over_hypercorn])
async def test_nothing_is_lost_over_the_other_ways_in(way: Way, tmp_path: Path) -> None:
    async with ways.serving(way, store=f"sqlite:///{tmp_path}/rooms.sqlite3") as (_, _, url):
        await meet(url, faults=examples(40, long=10))
