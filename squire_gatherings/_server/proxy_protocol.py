"""The PROXY protocol, versions 1 and 2: with it a proxy says whose connection it passes on.

Strict, and without I/O (https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt). It never asks
for more bytes than belong to the header, so that what follows stays where it is.
"""

import ipaddress
import re

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
LINE = b"PROXY "

LONGEST_LINE = 107
"""How many bytes a header of version 1 has at most, its end included (section 2.1)."""

MOST = 4096
"""How many bytes may follow the fixed part of version 2. A proxy sends some hundred."""

_FIXED = 16
_TCP4, _TCP6 = 0x11, 0x21
_SIZES = {0x00: 0, _TCP4: 12, 0x12: 12, _TCP6: 36, 0x22: 36, 0x31: 216, 0x32: 216}
"""How many bytes the addresses have, by family and transport."""

_V1 = re.compile(
    rb"PROXY (TCP4|TCP6) ([0-9a-fA-F.:]+) ([0-9a-fA-F.:]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})"
)


class BadProxyHeader(ValueError):
    """What came is no header of the PROXY protocol."""


class ProxyHeader:
    """Takes a header in. While `wanted` isn't 0, at most so many bytes more are to be fed."""

    __slots__ = ("_buffer", "source", "wanted")

    def __init__(self) -> None:
        self._buffer = b""
        self.wanted = len(SIGNATURE)
        self.source: str | None = None
        """The client's address; None for the proxy's own connections, and for one it can't say."""

    def feed(self, data: bytes) -> None:
        """Take up to `wanted` bytes in.

        Raises:
            BadProxyHeader: It can't become a header.
        """
        if not 0 < len(data) <= self.wanted:
            raise ValueError(f"{self.wanted} bytes are wanted, not {len(data)}")
        buffer = self._buffer = self._buffer + data
        if buffer[: len(SIGNATURE)] == SIGNATURE[: len(buffer)]:
            self._version_2(buffer)
        elif buffer[: len(LINE)] == LINE[: len(buffer)]:
            self._version_1(buffer)
        else:
            raise BadProxyHeader("it doesn't begin with the PROXY protocol")

    def _version_1(self, buffer: bytes) -> None:
        if b"\n" not in buffer:
            if b"\r" in buffer[:-1]:
                raise BadProxyHeader("the line has a carriage return in it")
            if len(buffer) >= LONGEST_LINE:
                raise BadProxyHeader(f"the line has over {LONGEST_LINE} bytes")
            # As much as is certainly part of the line: the shortest is PROXY UNKNOWN.
            self.wanted = max(1, len(SIGNATURE) - len(buffer))
            return
        line = buffer[:-2]
        if buffer[-2:] != b"\r\n" or b"\r" in line or b"\n" in line:
            raise BadProxyHeader("the line doesn't end with CR LF")
        self.wanted = 0
        if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
            return
        found = _V1.fullmatch(line)
        if found is None or int(found[4]) > 0xFFFF or int(found[5]) > 0xFFFF:
            raise BadProxyHeader("the line isn't one of the PROXY protocol")
        kind = ipaddress.IPv4Address if found[1] == b"TCP4" else ipaddress.IPv6Address
        try:
            source, _ = kind(found[2].decode()), kind(found[3].decode())
        except ValueError:
            raise BadProxyHeader("the line has no such addresses") from None
        self.source = str(source)

    def _version_2(self, buffer: bytes) -> None:
        if len(buffer) < _FIXED:
            self.wanted = _FIXED - len(buffer)
            return
        command, family = buffer[12], buffer[13]
        size = int.from_bytes(buffer[14:16], "big")
        if command not in (0x20, 0x21):
            raise BadProxyHeader(f"neither version 2 nor a command of it: {command:#x}")
        if family not in _SIZES:
            raise BadProxyHeader(f"no such family and transport: {family:#x}")
        if size > MOST:
            raise BadProxyHeader(f"over {MOST} bytes")
        if command == 0x21 and size < _SIZES[family]:
            raise BadProxyHeader("too short for its addresses")
        self.wanted = _FIXED + size - len(buffer)
        if self.wanted or command == 0x20:
            return
        _check_values(buffer[_FIXED + _SIZES[family] :])
        if family == _TCP4:
            self.source = str(ipaddress.IPv4Address(buffer[_FIXED : _FIXED + 4]))
        elif family == _TCP6:
            self.source = str(ipaddress.IPv6Address(buffer[_FIXED : _FIXED + 16]))


def _check_values(data: bytes) -> None:
    """Check that what follows the addresses are whole values, each with its type and length."""
    at = 0
    while at < len(data):
        if at + 3 > len(data):
            raise BadProxyHeader("a value after the addresses is cut off")
        at += 3 + int.from_bytes(data[at + 1 : at + 3], "big")
    if at != len(data):
        raise BadProxyHeader("a value after the addresses is cut off")
