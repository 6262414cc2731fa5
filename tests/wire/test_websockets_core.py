"""`websockets`' core leaves no garbage, and we use little of it that is undocumented."""

import gc
import re
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

import squire_gatherings
from squire_gatherings._wire.websockets_core import QUIET_LOG, retire

UNDOCUMENTED = {"parser_exc", "close_sent", "close_rcvd", "subprotocol"}
"""Attributes of a `Protocol` that we read all the same: see docs/dependencies.md."""

GET = b"GET / HTTP/1.1\r\nHost: h\r\n"
TEXT = Frame(Opcode.TEXT, b"{}").serialize(mask=True)


@pytest.fixture
def no_collections() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collections")
@pytest.mark.parametrize(
    "data",
    [
        b"",
        TEXT,
        TEXT[:3],
        Frame(Opcode.CLOSE, b"").serialize(mask=True),
        b"\xff\xff",
        Frame(Opcode.TEXT, bytes(200)).serialize(mask=True),
        GET[:9],
        GET + b"\r\n",
        b"nonsense\r\n\r\n",
    ],
    ids=[
        "nothing",
        "a text",
        "half a text",
        "a close",
        "no frame",
        "too large",
        "half a request",
        "a request",
        "no request",
    ],
)
@pytest.mark.parametrize("side", ["frames", "server", "client"])
def test_a_retired_protocol_is_gone(data: bytes, side: str) -> None:
    protocol: Protocol
    if side == "frames":
        protocol = Protocol(Side.SERVER, max_size=100, logger=QUIET_LOG)
    elif side == "server":
        protocol = ServerProtocol(max_size=100, logger=QUIET_LOG)
    else:
        protocol = ClientProtocol(parse_uri("ws://h"), max_size=100, logger=QUIET_LOG)
    gone = weakref.ref(protocol)
    protocol.receive_data(data)
    retire(protocol)
    del protocol
    assert gone() is None


def test_the_undocumented_parts_that_we_use_are_there() -> None:
    assert set(vars(Protocol(Side.SERVER))) > UNDOCUMENTED


def test_its_parser_is_not_reached_into() -> None:
    package = Path(squire_gatherings.__file__).parent
    inside = "parser|reader|writes|events|parse|discard|recv_frame|send_frame|send_eof|debug"
    names = re.compile(rf"protocol\.({inside})\b")
    for module in package.rglob("*.py"):
        assert not names.search(module.read_text()), module
