"""Checks of a server that runs: whether it is ready, of the same version, by the same clock; and of
the nodes that it knows."""

import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from squire_gatherings._admin.api.shapes import HallState
from squire_gatherings._cli.doctor.findings import Finding, fail, ok, warn
from squire_gatherings._cli.doctor.libraries import NAME
from squire_gatherings._cli.doctor.nodes import check_nodes
from squire_gatherings._cli.operators.asking import AdminPort

MOST_APART = 2.0
"""So many seconds may lie between the server's clock and ours."""


async def check_running(port: AdminPort) -> list[Finding]:
    """Check a server by its admin port. Raises what `AdminPort.get` does."""
    before = time.time()
    state: HallState = (await port.get("/api/v1/hall", HallState)).value
    after = time.time()
    return [
        _version(state.version, port.url),
        _clock(state.now, before, after),
        *_readiness(await port.ready()),
        *await check_nodes(port),
    ]


def _version(theirs: str, url: str) -> Finding:
    ours = version(NAME)
    says = f"squire_gatherings {theirs} answers at {url}"
    if theirs != ours:
        return warn("server", f"{says}, and this is {ours}", "restart it, or install the same")
    return ok("server", says)


def _clock(theirs: float, before: float, after: float) -> Finding:
    apart = max(before - theirs, theirs - after, 0.0)
    if apart > MOST_APART:
        return warn("time", f"its clock and this one are {apart:.1f}s apart", "set both clocks")
    return ok("time", "its clock shows the same as this one")


def _readiness(said: dict[str, Any]) -> Iterator[Finding]:
    checks = said.get("checks")
    if not isinstance(checks, dict):
        yield fail("ready", "it doesn't say whether it is ready", "look at its version")
        return
    wrong = {
        str(name): str(one.get("why", "")) if isinstance(one, dict) else ""
        for name, one in checks.items()
        if not (isinstance(one, dict) and one.get("ok") is True)
    }
    for name, why in wrong.items():
        yield fail("ready", f"{name}: {why or 'not well'}", "look at its log")
    if not wrong:
        yield ok("ready", f"{', '.join(map(str, checks))}: all is well")
