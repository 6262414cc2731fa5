"""Servers that share a database of PostgreSQL: any of them answers, by its socket or by a relay."""

import json
import os
import signal
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from squire_gatherings.client import open_client
from tests.cli.admin_server import Served, an_admin_server
from tests.cli.process import PATIENCE, run_here
from tests.cli.test_workers import children, crew, say_in_the_end
from tests.forked import Forked, serving
from tests.postgres import Postgres

ROOM = "friday-night"


async def test_one_that_dies_is_replaced_and_one_that_stops_hands_over(postgres: Postgres) -> None:
    """Three servers, two of which reach each other by their ports only."""
    url = postgres.new_url()
    with ExitStack() as stack:
        nodes: list[tuple[Forked, str]] = []
        for number in range(3):
            options = ["--store", url, "--node-name", f"node-{number}", "--close-grace", "1s"]
            if number == 2:
                options += ["--peer-host", "127.0.0.1", "--peer-port", "0"]
            nodes.append(stack.enter_context(serving(*options)))
        (_, first), (second, there), (_, third) = nodes
        async with open_client(there) as owner, owner.join(ROOM) as gathering:
            assert await gathering.submit({"n": 1}) == 1
            for address in (first, third):
                async with open_client(address) as client, client.join(ROOM) as same:
                    seq = gathering.seq
                    assert await same.submit({"n": seq}) == seq + 1
        seq = 3
        async with (
            open_client(first, max_pause=0.2) as client,
            client.join(ROOM) as gathering,
        ):
            # It is killed: another one has its gatherings once its lease is over.
            second.send_signal(signal.SIGKILL)
            with trio.fail_after(PATIENCE):
                assert await gathering.submit({"n": 4}) == seq + 1
            # The one that has it now stops: the other one goes on with it, and nothing is said of
            # an end.
            for process, address in (nodes[0], nodes[2]):
                if address != first:
                    process.send_signal(signal.SIGTERM)
                    assert process.wait(PATIENCE) == 0
            assert await gathering.submit({"n": 5}) == seq + 2
            assert gathering.dispersed is None


async def test_an_operator_sees_nodes_and_drains_one(postgres: Postgres, tmp_path: Path) -> None:
    """Whoever is connected goes along, and the process runs on without gatherings."""
    url = postgres.new_url()
    with ExitStack() as stack:
        served = []
        for name in ("one", "two"):
            folder = tmp_path / name
            folder.mkdir()
            options = ("--store", url, "--node-name", name)
            served.append(stack.enter_context(an_admin_server(folder, *options)))
        first, second = served

        async def command(*said: str, of: Served = first) -> tuple[int, Any]:
            code, out, _ = await trio.to_thread.run_sync(
                partial(run_here, *said, "--json", *of.options)
            )
            return code, json.loads(out)

        async def had() -> list[int]:
            return [node["gatherings"] for node in (await command("nodes"))[1]["nodes"]]

        async with (
            open_client(first.url, max_pause=0.2) as client,
            client.join(ROOM) as gathering,
        ):
            await gathering.submit({"n": 1})
            with trio.fail_after(PATIENCE):
                while await had() != [1, 0]:  # noqa: ASYNC110
                    await trio.sleep(0.2)
            _, said = await command("nodes", of=second)
            assert [node["name"] for node in said["nodes"]] == ["one", "two"]
            assert {node["state"] for node in said["nodes"]} == {"up"}
            code, drained = await command("drain", "--yes")
            assert (code, drained) == (0, {"moved": 1, "left": 0})
            with trio.fail_after(PATIENCE):
                assert await gathering.submit({"n": 2}) == 2
            assert gathering.dispersed is None

            async def states() -> list[str]:
                return [node["state"] for node in (await command("nodes", of=second))[1]["nodes"]]

            # The other one knows it with its next beat.
            with trio.fail_after(PATIENCE):
                while await states() != ["draining", "up"]:  # noqa: ASYNC110
                    await trio.sleep(0.1)


async def test_workers_may_be_nodes(postgres: Postgres) -> None:
    url = postgres.new_url()
    with crew("--store", url, "--log-level", "info") as (process, address):
        workers = children(process.pid)
        for number in range(12):
            async with open_client(address) as client, client.join(f"room-{number}") as one:
                assert await one.submit({"n": 1}) == 1
                async with open_client(address) as again, again.join(f"room-{number}") as two:
                    assert await two.submit({"n": 2}) == 2
        os.kill(workers[1], signal.SIGKILL)
        with trio.fail_after(PATIENCE):
            for number in range(12):
                assert await say_in_the_end(address, f"room-{number}") == [3]
        # Each is started anew, one after the other: who is there comes back, and misses nothing.
        before = children(process.pid)
        async with (
            open_client(address, max_pause=0.2) as client,
            client.join("room-0") as gathering,
        ):
            process.send_signal(signal.SIGUSR2)
            errors = iter(process.stderr or ())
            await trio.to_thread.run_sync(
                lambda: next(line for line in errors if "all workers are new" in line)
            )
            assert await gathering.submit({"n": 4}) == 4
            assert gathering.dispersed is None
        after = children(process.pid)
        # The one that was killed may not have been started again when that began.
        assert after.keys() == workers.keys()
        assert not set(after.values()) & set(before.values())
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--url", "wss://one"), "--url goes with --store postgresql"),
        (("--node-name", "x"), "--node-name goes with"),
        (("--peer-port", "0"), "--peer-port goes with"),
        (("--store", "postgresql://x/y", "--peer-port", "0"), "go together"),
        (("--store", "postgresql://x/y", "--peer-host", "h"), "go together"),
        (
            ("--store", "postgresql://x/y", "--peer-host", "0.0.0.0", "--peer-port", "1"),
            "not all addresses",
        ),
        (("--store", "postgresql://x/y", "--url", "http://one"), "--url: the URL of a server"),
        (("--store", "postgresql://x/y", "--node-name", "a\nb"), "all printable"),
        (
            (
                *("--store", "postgresql://x/y", "--peer-host", "h"),
                *("--peer-port", "65535", "--workers", "2"),
            ),
            "a port of its own",
        ),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    code, out, err = run_here("serve", "--port", "0", *options, cwd=tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith("squire_gatherings: error: ")
    assert err.count("\n") == 1
    assert said in err
