"""Proxies: whose connection it is that a named proxy passes on.

What a proxy says counts if it is one of those that the operator has named. From anybody else these
headers mean nothing.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator
from enum import StrEnum

from attrs import field, frozen

from squire_gatherings._values.errors import BadSetting
from squire_gatherings._values.handshake import HandshakeRequest

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ProxySays(StrEnum):
    """How a proxy says whose connection it passes on."""

    X_FORWARDED_FOR = "x-forwarded-for"
    FORWARDED = "forwarded"
    PROXY_PROTOCOL = "proxy-protocol"


def network(text: object) -> Network:
    """Return the network that `ADDRESS` or `ADDRESS/BITS` names. Raises `BadSetting`."""
    if isinstance(text, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return text
    try:
        return ipaddress.ip_network(str(text).strip())
    except ValueError as error:
        raise BadSetting(f"a proxy is ADDRESS or ADDRESS/BITS: {str(error)[:100]}") from None


def _networks(texts: Iterable[object]) -> tuple[Network, ...]:
    if isinstance(texts, str):
        raise BadSetting("proxies are several addresses or networks, not one text")
    return tuple(network(one) for one in texts)


@frozen
class Proxies:
    """Those that the operator has named, and how they say whose connection it is."""

    networks: tuple[Network, ...] = field(default=(), converter=_networks)
    says: ProxySays = field(default=ProxySays.X_FORWARDED_FOR, converter=ProxySays)

    def named(self, peer: str | None) -> bool:
        """Whether an address is that of a named proxy."""
        if not self.networks or peer is None:
            return False
        address = _address(peer)
        return address is not None and self._named(address)

    def client_of(self, request: HandshakeRequest, peer: str) -> str:
        """Return the address of the client that the proxy `peer` names in a request.

        Each proxy on the way appends the address that was connected to it. The last one that isn't
        a named proxy's counts, since anybody may have written what stands before it.

        Args:
            request: What the proxy passed on.
            peer: The address of the proxy, which is a named one.

        Returns:
            The client's address. Where an entry can't be read, it is the one after it; where there
            is none, it is the proxy's own.
        """
        name = "Forwarded" if self.says is ProxySays.FORWARDED else "X-Forwarded-For"
        said = request.header(name)
        if said is None:
            return peer
        nodes = list(_forwarded(said) if name == "Forwarded" else said.split(","))
        for node in reversed(nodes):
            address = _node(node)
            if address is None:
                break
            peer = str(address)
            if not self._named(address):
                break
        return peer

    def _named(self, address: Address) -> bool:
        return any(address in one for one in self.networks)


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


_NODE = re.compile(r"\[([^\]]*)\](?::\w+)?|([0-9.]+)(?::\w+)?")


def _node(text: str | None) -> Address | None:
    """Return the address of a node: with or without brackets, with or without a port."""
    if text is None:
        return None
    text = text.strip()
    found = _NODE.fullmatch(text)
    return _address((found[1] or found[2] or "") if found else text)


_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR = re.compile(rf'[ \t]*(?:({_TOKEN})=("(?:[^"\\]|\\.)*"|{_TOKEN})[ \t]*)?([;,]|\Z)')


def _forwarded(text: str) -> Iterator[str | None]:
    """Return each element's `for`; None for one that has none, or is malformed (RFC 7239)."""
    at = 0
    node: str | None = None
    while True:
        found = _PAIR.match(text, at)
        if found is None:
            # Nothing of it can be told apart any more.
            yield None
            return
        name, value, end = found.groups()
        if name is not None and name.lower() == "for":
            node = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
        if end != ";":
            yield node
            node = None
        if not end:
            return
        at = found.end()
