"""The proxies' configurations for several nodes: the real ones, in front of real nodes.

What is in front sends all clients of a gathering to the same node, so that none is passed on.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from squire_gatherings import Proxies, ProxySays, ServerSettings
from squire_gatherings.client import open_client
from tests.cluster.sharing import Sharing, sharing
from tests.deploy.test_proxies import Ports, haproxy, nginx
from tests.deploy.test_proxies import ports as ports
from tests.deploy.tools import found
from tests.server.certificates import trusting

ROOMS, CLIENTS = 24, 3

ADDRESSES = [f"10.0.0.{number}:8765" for number in (1, 2, 3)]


async def shares(
    proxy: Callable[..., Any],
    says: ProxySays,
    folder: Path,
    ports: Ports,
    instead: str | None = None,
) -> tuple[float, Counter[int]]:
    """Have several clients join each of many gatherings by way of a proxy.

    Returns:
        The share of connections that were passed on, and how many gatherings each node has.
    """
    # The proxies of these tests give up what is silent for two seconds.
    settings = ServerSettings(proxies=Proxies(["127.0.0.1"], says), ping_interval=0.5)
    found(proxy.__name__)
    async with sharing("m", "m", "m", settings=settings) as nodes, AsyncExitStack() as stack:
        servers = {
            address: f"127.0.0.1:{node.server.addresses[0][1]}"
            for address, node in zip(ADDRESSES, nodes, strict=True)
        }
        if instead is None:
            servers = {
                "server 127.0.0.1:8765;": "".join(f"server {one};" for one in servers.values())
            }
        if proxy is haproxy:
            # These nodes have no admin port that could be asked.
            servers[f"check port {ports.admin} inter 2s fall 2 rise 1"] = ""
        front = proxy(folder, ports, servers, instead)
        await trio.to_thread.run_sync(front.__enter__)
        stack.push_async_callback(trio.to_thread.run_sync, front.__exit__, None, None, None)
        url = f"wss://127.0.0.1:{ports.proxy}"
        client = await stack.enter_async_context(open_client(url, ssl_context=trusting()))
        for number in range(ROOMS):
            for _ in range(CLIENTS):
                joined = client.join(f"room-{number}")
                gathering = await stack.enter_async_context(joined)
            assert await gathering.submit({"n": 1}) == 1
        assert sum(node.server.connections for node in nodes) == ROOMS * CLIENTS
        return share_of(nodes), Counter(
            {number: len(node.local.registry.living) for number, node in enumerate(nodes)}
        )


def share_of(nodes: list[Sharing]) -> float:
    """Return the share of connections that were passed on."""
    return sum(node.router.tally.routed["passed_on"] for node in nodes) / (ROOMS * CLIENTS)


@pytest.mark.parametrize(
    ("proxy", "says", "instead"),
    [
        (nginx, ProxySays.X_FORWARDED_FOR, "nginx/several-nodes.conf"),
        (haproxy, ProxySays.PROXY_PROTOCOL, "haproxy/several-nodes.cfg"),
    ],
)
async def test_nobody_is_passed_on(
    proxy: Callable[..., Any],
    says: ProxySays,
    instead: str,
    tmp_path: Path,
    ports: Ports,
) -> None:
    share, gatherings = await shares(proxy, says, tmp_path, ports, instead)
    assert share == 0
    # Each node has some.
    assert sum(gatherings.values()) == ROOMS
    assert min(gatherings.values()) > 0


async def test_without_hashing_most_are(tmp_path: Path, ports: Ports) -> None:
    """One after the other: of three who join, two come to a node that doesn't have it."""
    share, gatherings = await shares(nginx, ProxySays.X_FORWARDED_FOR, tmp_path, ports)
    assert share == pytest.approx(2 / 3, abs=0.1)
    assert sum(gatherings.values()) == ROOMS
