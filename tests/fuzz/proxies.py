"""Targets: what proxies, or forgers, say about the source of a connection.

Bytes that follow a header of the PROXY protocol are left where they are.
"""

import ipaddress

from squire_gatherings._server.proxies import Proxies, ProxySays
from squire_gatherings._server.proxy_protocol import (
    LONGEST_LINE,
    MOST,
    SIGNATURE,
    BadProxyHeader,
    ProxyHeader,
)
from squire_gatherings._values.handshake import HandshakeRequest
from tests.fuzz.target import Target, clear

PEER = "192.0.2.1"


def read(data: bytes, most: int) -> tuple[str | None, int] | None:
    """Feed a header, at most `most` bytes at a time.

    Returns:
        The address, and the header's length; None if there is no header, or only a part of one.
    """
    header = ProxyHeader()
    at = 0
    while header.wanted:
        piece = data[at : at + min(most, header.wanted)]
        if not piece:
            return None
        try:
            header.feed(piece)
        except BadProxyHeader as error:
            clear(error)
            return None
        at += len(piece)
        assert at <= 16 + MOST
    return header.source, at


def run_protocol(data: bytes) -> None:
    found = read(data, len(data) or 1)
    assert read(data, 1) == found
    if found is None:
        return
    source, size = found
    assert source is None or str(ipaddress.ip_address(source)) == source
    assert read(data[:size], 7) == found
    # The header ends where it says, even if more bytes follow.
    assert read(data[:size] + b"GET / HTTP/1.1\r\n", 1 << 16) == found
    assert size <= (16 + MOST if data.startswith(SIGNATURE) else LONGEST_LINE)


def run_headers(data: bytes) -> None:
    said = data.decode("latin-1")
    for says in (ProxySays.X_FORWARDED_FOR, ProxySays.FORWARDED):
        proxies = Proxies((PEER, "10.0.0.0/8"), says)
        headers = [("X-Forwarded-For", said), ("Forwarded", said)]
        client = proxies.client_of(HandshakeRequest(path="/", headers=headers), PEER)
        address = ipaddress.ip_address(client)
        assert str(address) == client or "%" in client
        # Names that a stranger put before it don't count.
        more = f"for=6.6.6.6, {said}" if says is ProxySays.FORWARDED else f"6.6.6.6, {said}"
        forged = HandshakeRequest(path="/", headers=[(name, more) for name, _ in headers])
        if not proxies.named(client):
            assert proxies.client_of(forged, PEER) == client


_V2 = SIGNATURE + b"\x21"

TARGETS = (
    Target(
        "proxy_protocol",
        run_protocol,
        [
            b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 80\r\nGET",
            b"PROXY TCP6 2001:db8::7 ::1 65535 0\r\n",
            b"PROXY UNKNOWN ffff::1 more\r\n",
            _V2 + b"\x11\x00\x0c" + bytes(12) + b"GET",
            _V2 + b"\x21\x00\x24" + bytes(36),
            _V2 + b"\x11\x00\x11" + bytes(12) + b"\x01\x00\x02h2",
            SIGNATURE + b"\x20\x00\x00\x00",
        ],
        ["PROXY ", "TCP4 ", "TCP6 ", "UNKNOWN", "\r\n", _V2, b"\x00\x0c", "::ffff:", "65536"],
    ),
    Target(
        "forwarded",
        run_headers,
        [
            "198.51.100.7, 10.0.0.3",
            "[2001:db8::7]:80, 10.1.1.1:99",
            'for=198.51.100.7;proto=https, for="[2001:db8::7]:80";by=10.0.0.1',
            'for="_hidden", for=unknown;host="a\\"b"',
        ],
        ["for=", 'for="', "::ffff:10.0.0.1", "10.0.0.2", ", ", ";", "[::1]", '\\"', "%eth0"],
    ),
)
