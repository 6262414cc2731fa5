"""Addresses: which ones are the same host's, as far as limits are concerned."""

import ipaddress


def address_of(peer: str | None) -> str | None:
    """Return whose address it is: of IPv6, anybody has as many as 64 bits can tell apart."""
    if peer is None or ":" not in peer:
        return peer
    try:
        address = ipaddress.IPv6Address(peer)
    except ValueError:
        return peer
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
