"""A thousand faults between twenty clients and a real server, on real sockets and a real disk."""

from pathlib import Path
from typing import Any

import trio

from squire_gatherings.client import Client, open_client
from tests.cli.process import serving
from tests.client.faulty_proxy import KINDS, open_faulty_proxy
from tests.client.world import ROOM

CLIENTS = 20
OPS = 10_000
IN_FLIGHT = 5
FAULTS = 1000


async def live(client: Client, name: str, share: int, log: dict[int, Any]) -> None:
    """Submit a share of the ops, several at a time, and take in the whole log."""
    async with client.join(ROOM, since=0) as gathering, trio.open_nursery() as nursery:
        numbers = iter(range(share))

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
                if len(log) == OPS:
                    return

        nursery.start_soon(look_on)
        async with trio.open_nursery() as submitting:
            for _ in range(IN_FLIGHT):
                submitting.start_soon(submit)


async def meet(url: str, seed: int) -> list[dict[int, Any]]:
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
        open_faulty_proxy(host, int(port), seed=seed, faults=FAULTS, spacing=20) as proxy,
        open_client(f"ws://127.0.0.1:{proxy.address[1]}", **settings) as client,
    ):
        async with trio.open_nursery() as nursery:
            for number, log in enumerate(logs):
                nursery.start_soon(live, client, f"c{number}", OPS // CLIENTS, log)
        assert proxy.faults.total() == FAULTS
        assert all(proxy.faults[kind] > FAULTS / 10 for kind in KINDS)
    return logs


def test_a_thousand_faults(tmp_path: Path) -> None:
    with serving("--store", f"sqlite:///{tmp_path}/rooms.sqlite3") as (process, url):
        logs = trio.run(meet, url, 1)
        assert process.poll() is None
    whole = logs[0]
    assert sorted(whole) == list(range(1, OPS + 1))
    # Each op once: as many as were submitted, and no two the same.
    assert len({(op["by"], op["n"]) for op in whole.values()}) == OPS
    assert all(log == whole for log in logs)
