"""The PROXY protocol: strict, and never a byte more than its header."""

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squire_gatherings._server.proxy_protocol import (
    LONGEST_LINE,
    MOST,
    SIGNATURE,
    BadProxyHeader,
    ProxyHeader,
)
from tests.support import examples


def taken(data: bytes) -> tuple[str | None, bytes]:
    """Feed as much as is wanted; return the address, and the bytes that weren't taken."""
    header = ProxyHeader()
    while header.wanted:
        piece = data[: header.wanted]
        if not piece:
            raise EOFError
        header.feed(piece)
        data = data[len(piece) :]
    return header.source, data


def v2(family: int = 0x11, addresses: bytes = b"", more: bytes = b"", command: int = 0x21) -> bytes:
    size = (len(addresses) + len(more)).to_bytes(2, "big")
    return SIGNATURE + bytes([command, family]) + size + addresses + more


V4 = bytes([192, 0, 2, 1, 10, 0, 0, 1]) + b"\x12\x34\x01\xbb"
V6 = ipaddress.IPv6Address("2001:db8::1").packed * 2 + b"\x12\x34\x01\xbb"


@pytest.mark.parametrize(
    ("header", "source"),
    [
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n", "192.0.2.1"),
        (b"PROXY TCP6 2001:db8::1 ::1 56324 443\r\n", "2001:db8::1"),
        (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255"),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff:f:f:f:f:f:f:f ffff::f 65535 65535\r\n", None),
        (v2(0x11, V4), "192.0.2.1"),
        (v2(0x11, V4, b"\x04\x00\x02no"), "192.0.2.1"),
        (v2(0x21, V6), "2001:db8::1"),
        (v2(0x00), None),
        (v2(0x11, V4, command=0x20), None),
        (v2(0x00, command=0x20), None),
        (v2(0x31, bytes(216)), None),
    ],
)
@pytest.mark.parametrize("rest", [b"", b"GET / HTTP/1.1\r\n", b"\r\n", b"PROXY "])
def test_a_header(header: bytes, source: str | None, rest: bytes) -> None:
    assert taken(header + rest) == (source, rest)


@pytest.mark.parametrize(
    "data",
    [
        b"GET /gatherings/room HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01" + bytes(50),
        b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\n" + bytes(100),
        b"PROXY TCP4 192.0.2.1 10.0.0.1 56324\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 056324 443\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 65536 443\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 1 -1\r\n",
        b"PROXY TCP4 192.0.2.01 10.0.0.1 1 1\r\n",
        b"PROXY TCP4 2001:db8::1 ::1 1 1\r\n",
        b"PROXY TCP6 192.0.2.1 10.0.0.1 1 1\r\n",
        b"PROXY TCP4  192.0.2.1 10.0.0.1 1 1\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 1 1 \r\n",
        b"PROXY TCP4 192.0.2.1\r 10.0.0.1 1 1\r\n",
        b"PROXY UNKNOWNX\r\n",
        b"PROXY UNKNOWN " + b"x" * LONGEST_LINE + b"\r\n",
        b"proxy TCP4 192.0.2.1 10.0.0.1 1 1\r\n",
        v2(0x11, V4[:-1]),
        v2(0x21, V4),
        v2(0x41, V4),
        v2(0x11, V4, command=0x22),
        v2(0x11, V4, command=0x11),
        v2(0x11, V4, b"\x04"),
        v2(0x11, V4, b"\x04\x00\x05no"),
        # Whole values, each of nothing.
        v2(0x11, V4, bytes(MOST // 3 * 3)),
    ],
)
def test_no_header(data: bytes) -> None:
    with pytest.raises(BadProxyHeader):
        taken(data)


def test_only_what_is_wanted_is_taken() -> None:
    header = ProxyHeader()
    for data in (b"", bytes(13)):
        with pytest.raises(ValueError, match="12 bytes are wanted"):
            header.feed(data)


addresses = st.ip_addresses(v=4), st.ip_addresses(v=6)
ports = st.integers(0, 0xFFFF)


@given(st.one_of(*addresses), ports, ports, st.binary(max_size=40), st.data())
@settings(max_examples=examples(150))
def test_whatever_a_proxy_says_is_understood(
    source: ipaddress.IPv4Address | ipaddress.IPv6Address,
    port: int,
    other: int,
    rest: bytes,
    data: st.DataObject,
) -> None:
    version = source.version
    line = f"PROXY TCP{version} {source} {source} {port} {other}\r\n".encode()
    packed = source.packed * 2 + port.to_bytes(2, "big") + other.to_bytes(2, "big")
    values = data.draw(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=20))))
    more = b"".join(bytes([kind, 0, len(value)]) + value for kind, value in values)
    binary = v2(0x11 if version == 4 else 0x21, packed, more)
    for header in (line, binary):
        assert taken(header + rest) == (str(source), rest)
        # Cut off anywhere, it's no header, and no address is made up.
        cut = data.draw(st.integers(0, len(header) - 1))
        with pytest.raises(EOFError):
            taken(header[:cut])


@given(
    st.binary(max_size=60),
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\x00"]),
    st.integers(0, 200),
    st.integers(0, 255),
)
@settings(max_examples=examples(400))
def test_nonsense_ends(noise: bytes, prefix: bytes, at: int, byte: int) -> None:
    """Any bytes are a header, no header, or cut off; and a line is never too long."""
    changed = bytearray(b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n")
    if at < len(changed):
        changed[at] = byte
    for data in (prefix + noise, prefix + noise + bytes(8000), bytes(changed) + noise):
        try:
            source, rest = taken(data)
        except (BadProxyHeader, EOFError):
            continue
        assert data.endswith(rest)
        if source is not None:
            assert str(ipaddress.ip_address(source)) == source
