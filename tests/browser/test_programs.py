"""The browser client in node, and in deno and bun where they are, against the real server."""

import re
import shutil
import subprocess

import pytest

from tests.browser.world import check, open_program, open_world
from tests.support import examples


def node() -> list[str] | None:
    """Return how node is called so that it has WebSockets."""
    if shutil.which("node") is None:
        return None
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    version = re.match(r"v(\d+)", said)
    has_them = version is not None and int(version[1]) >= 22
    return ["node", "--no-warnings", *([] if has_them else ["--experimental-websocket"])]


RUNTIMES = {
    "node": node(),
    "deno": ["deno", "run", "-A"] if shutil.which("deno") else None,
    "bun": ["bun"] if shutil.which("bun") else None,
}


@pytest.mark.parametrize("name", RUNTIMES)
async def test_clients_have_the_log_after_many_cuts(name: str) -> None:
    command = RUNTIMES[name]
    if command is None:
        pytest.skip(f"there is no {name}")
    async with (
        open_world(faults=examples(25)) as world,
        open_program(command, world.url, 3) as program,
    ):
        await program.ask("begin")
        await world.proxy.over.wait()
        await program.ask("stop")
        log = await world.log()
        check(log, await program.ask("reach", len(log)))
