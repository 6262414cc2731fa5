"""Dispersed gatherings leave no memory behind (a small run of the benchmark that shows it)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("allocator", ["pymalloc", "malloc"])
def test_memory_does_not_grow(allocator: str) -> None:
    script = Path(__file__).parent.parent / "benchmarks" / "leaks.py"
    # Few rounds of few: less is tolerated, so that they find as little as many would.
    options = ["--gatherings", "500", "--rounds", "4", "--tolerance", "0.015"]
    done = subprocess.run(
        [sys.executable, script, *options],
        env={**os.environ, "PYTHONMALLOC": allocator},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


CYCLES = """
import gc
import trio
from functools import partial
from squire_gatherings import open_hall, serve
from tests.server.raw import RawClient


def visit(url, politely):
    with RawClient(url + "/gatherings/room") as client:
        client.say(type="join")
        client.hear()
        client.say(type="sync", id="s", base=0, ops=[{}])
        client.hear()
        if politely:
            client.say(type="leave")
            client.hear_close()


async def main():
    async with open_hall(empty_timeout=0.0) as hall, trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve, hall, host="127.0.0.1", port=0))
        url = "ws://%s:%d" % server.addresses[0]
        for round in range(2):
            for number in range(20):
                await trio.to_thread.run_sync(visit, url, number % 2)
            await server.wait_empty()
            while hall.gatherings():
                await hall.disperse("room")
            if not round:
                gc.collect()
                gc.disable()
        print(gc.collect())
        nursery.cancel_scope.cancel()


trio.run(main)
"""


def test_connections_and_gatherings_leave_no_reference_cycles() -> None:
    """`serve` needs this: it makes full garbage collections rare (_collector.py)."""
    done = subprocess.run(
        [sys.executable, "-c", CYCLES],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=Path(__file__).parent.parent,
    )
    assert (done.returncode, done.stderr) == (0, "")
    # Python or the test itself may make a few cycles; the visits don't make one each.
    assert int(done.stdout) < 20
