"""Checks of a proxy: what it passes on of the connections that clients make through it."""

import ipaddress
import json
import secrets
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio
from attrs import frozen
from websockets.exceptions import ConnectionClosed

from squire_gatherings._admin.api.shapes import AddressClients
from squire_gatherings._cli.doctor.findings import Finding, fail, ok, warn
from squire_gatherings._cli.doctor.sockets import CannotOpen, new_gathering, open_socket
from squire_gatherings._cli.operators.asking import AdminPort
from squire_gatherings._cli.units import format_duration

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

PATIENCE = 10.0

_HEADERS = "let it pass on Host, Upgrade and Connection, by HTTP/1.1"


@frozen
class Way:
    """The way of clients to a server: through its proxy."""

    url: str
    """Where clients connect to."""
    token: str | None
    """Lets a client join."""
    proxies: tuple[str, ...]
    """The addresses that `--proxy` names."""
    idle: float
    """For how many seconds a connection is left alone; 0 for not at all."""


async def check_through(way: Way, port: AdminPort | None) -> list[Finding]:
    """Check what a proxy does with a connection.

    A client joins a gathering of its own for that, which is dispersed at the end.

    Args:
        way: The way there.
        port: Tells which address the server sees; None where nobody can be asked.

    Cancellation: its connection may go on for some seconds.
    """
    run = trio.to_thread.run_sync
    stack = ExitStack()
    gathering = new_gathering()
    source = _source(way.url)
    try:
        await run(_open_and_close, way.url)
    except CannotOpen as error:
        return [fail("upgrade", f"no WebSocket opens at {way.url}: {error}", _HEADERS)]
    findings = [ok("upgrade", f"a WebSocket opens at {way.url}"), await run(_check_host, way.url)]
    known = [source] if source is not None else []
    before = await _clients(port, [*known, *_their_own(way)])
    try:
        opened = open_socket(way.url, gathering_id=gathering, source=source)
        connection = await run(stack.enter_context, opened)
    except CannotOpen as error:
        return [*findings, fail("address", f"a second WebSocket doesn't open: {error}", _HEADERS)]
    try:
        why_not = await run(_join, connection, way.token)
        if why_not is not None:
            do = "give a token that lets one join 'doctor-*': --token"
            return [*findings, warn("join", f"a client can't join: {why_not}", do)]
        findings.append(ok("join", "a client can join"))
        own = source or str(connection.local_address[0])
        if port is not None:
            if source is None:
                before |= await _before(port, own)
            after = await _clients(port, [own, *_their_own(way)])
            findings.append(address_seen(own, before, after, own in _their_own(way)))
        if way.idle:
            findings.append(await run(_check_idle, connection, way.idle))
    finally:
        # It takes a second at most.
        with trio.CancelScope(shield=True):
            await run(stack.close)
    if port is not None:
        await port.disperse(gathering)
    return findings


async def _before(port: AdminPort, own: str) -> dict[str, int]:
    """Return how many clients an address had before its last one came."""
    return {name: count - 1 for name, count in (await _clients(port, [own])).items()}


def _source(url: str) -> str | None:
    """Return an address of this machine that nobody else has, where the proxy is on it, too.

    Otherwise our address would be the same as the proxy's.
    """
    with suppress(OSError, ValueError):
        address = ipaddress.ip_address(socket.gethostbyname(urlsplit(url).hostname or ""))
        # Elsewhere only 127.0.0.1 is an address of this machine.
        if address.is_loopback and sys.platform == "linux":
            return str(ipaddress.IPv4Address(0x7F010000 + secrets.randbelow(0xFE0000)))
    return None


def _their_own(way: Way) -> list[str]:
    """Return addresses from which the proxy itself may come."""
    found = ["127.0.0.1", "::1"]
    with suppress(OSError):
        host = urlsplit(way.url).hostname or ""
        found += [str(one[4][0]) for one in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    found += [one for one in way.proxies if "/" not in one]
    return list(dict.fromkeys(found))


async def _clients(port: AdminPort | None, addresses: Iterable[str]) -> dict[str, int]:
    """Return how many clients the server sees under each address."""
    if port is None:
        return {}
    found: dict[str, int] = {}
    for one in addresses:
        answer = await port.get("/api/v1/addresses", AddressClients, address=one)
        found[one] = answer.value.clients
    return found


def address_seen(
    own: str, before: dict[str, int], after: dict[str, int], is_the_proxys: bool = False
) -> Finding:
    """Tell under which address we came, by those that have one client more now.

    Args:
        own: Our address.
        before: How many clients came from each address that it may be, before us.
        after: The same, with us.
        is_the_proxys: Whether our own address may be that of the proxy, too.
    """
    more = [name for name, count in after.items() if count > before.get(name, 0)]
    if own in more and is_the_proxys:
        says = f"the server sees {own}, which may be the proxy's address or a client's"
        return warn("address", says, "run doctor on another machine than the proxy's")
    if own in more:
        return ok("address", f"the server sees a client's own address behind the proxy: {own}")
    if more:
        says = f"all clients come from {more[0]}, as the server sees it, which is the proxy's"
        do = "let the proxy set X-Forwarded-For (or --proxy-says), and name it: --proxy"
        return fail("address", says, do)
    do = "behind NAT that is so; else look at --proxy and at what the proxy sets"
    return warn("address", f"the server sees another address than {own}", do)


def _open_and_close(url: str, origin: str | None = None) -> None:
    with open_socket(url, origin=origin):
        pass


def _check_host(url: str) -> Finding:
    parts = urlsplit(url)
    scheme = "https" if parts.scheme == "wss" else "http"
    origin = f"{scheme}://{parts.netloc}"
    try:
        _open_and_close(url, origin)
    except CannotOpen as error:
        says = f"a page of {origin} isn't let in: {error}"
        do = "let the proxy pass on Host and Origin as they are, or name the page: --allow-origin"
        return fail("origin", says, do)
    return ok("origin", f"a page of {origin} is let in: Host and Origin are passed on")


def _join(connection: "ClientConnection", token: str | None) -> str | None:
    """Join; return why that isn't possible, or None."""
    said = {"type": "join"} if token is None else {"type": "join", "token": token}
    try:
        connection.send(json.dumps(said))
        answer = json.loads(connection.recv(PATIENCE))
    except ConnectionClosed as error:
        closed = error.rcvd
        return "the connection breaks off" if closed is None else f"{closed.reason or closed.code}"
    except (TimeoutError, ValueError):
        return "there is no answer"
    if isinstance(answer, dict) and answer.get("type") == "joined":
        return None
    return str(answer.get("message") or answer.get("type")) if isinstance(answer, dict) else "?"


def _check_idle(connection: "ClientConnection", seconds: float) -> Finding:
    """Leave a connection alone, and look whether it is there afterwards."""
    until = time.monotonic() + seconds
    shown = format_duration(seconds)
    try:
        while (left := until - time.monotonic()) > 0:
            try:
                connection.recv(left)
            except TimeoutError:
                break
        connection.ping().wait(PATIENCE)
    except ConnectionClosed:
        lived = format_duration(round(seconds - max(0.0, until - time.monotonic()), 1))
        says = f"an idle connection was closed after {lived}"
        return fail("idle", says, "raise the proxy's timeout, or lower --ping-interval")
    return ok("idle", f"an idle connection lives for {shown}")
