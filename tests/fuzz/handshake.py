"""Target: an HTTP request that asks for a WebSocket, and what is read in it afterwards.

The server accepts it, or refuses it by one response that an HTTP parser accepts. Nothing in it
becomes a header of ours, and no secret comes back.
"""

import re

import h11

from squire_gatherings._auth.carriers import find_token
from squire_gatherings._server.handshake import Accepted, Refused, _understand
from squire_gatherings._values.errors import Unauthorized
from squire_gatherings._values.ids import check_gathering_id
from squire_gatherings._values.origins import OriginRule
from squire_gatherings._wire.codecs import CODECS
from tests.fuzz.target import Target

RULES = (None, OriginRule(), OriginRule(("https://a.example",)), OriginRule(None, True))
OURS = {
    b"content-type",
    b"content-length",
    b"connection",
    b"sec-websocket-version",
    b"retry-after",
    b"date",
    b"upgrade",
    b"sec-websocket-accept",
    b"sec-websocket-protocol",
}


def answered(response: bytes) -> int:
    """Have an independent parser read the response; return its status."""
    reader = h11.Connection(h11.CLIENT)
    headers = [("Host", "h"), ("Upgrade", "websocket"), ("Connection", "Upgrade")]
    reader.send(h11.Request(method="GET", target="/", headers=headers))
    reader.send(h11.EndOfMessage())
    reader.receive_data(response)
    event = reader.next_event()
    assert isinstance(event, h11.Response | h11.InformationalResponse), event
    names = {name for name, _ in event.headers}
    assert names <= OURS, names - OURS
    if isinstance(event, h11.Response):
        body = reader.next_event()
        assert isinstance(body, h11.Data), body
        assert re.fullmatch(rb"[^\n]+\n", bytes(body.data)), body.data
        assert isinstance(reader.next_event(), h11.EndOfMessage)
    assert reader.trailing_data[0] == b""
    return event.status_code


def run(data: bytes) -> None:
    if not data:
        return
    rule = RULES[data[0] % len(RULES)]
    data = data[1:]
    try:
        accepted, answer = _understand(data, "192.0.2.1", rule)
    except Refused as refused:
        status = answered(refused.response)
    else:
        status = answered(answer)
        check(accepted)
        assert data.endswith(accepted.rest)
    assert status in (101, 400, 403, 404, 426, 431)


def check(accepted: Accepted) -> None:
    request = accepted.request
    assert check_gathering_id(accepted.gathering_id) == accepted.gathering_id
    assert accepted.codec in CODECS.values()
    assert request.cookies is not None
    assert request.header("host") is not None
    for cookie in (None, "t"):
        try:
            token = find_token(None, request, cookie=cookie, origins=OriginRule())
        except Unauthorized:
            continue
        assert token is None or token in "".join(
            [*(value for _, value in request.headers), *request.subprotocols]
        )


_LINES = (
    b"Host: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


def request(target: str = "/gatherings/room", more: str = "", lines: bytes = _LINES) -> bytes:
    return b"\0GET " + target.encode() + b" HTTP/1.1\r\n" + lines + more.encode() + b"\r\n"


TARGETS = (
    Target(
        "handshake",
        run,
        [
            request(),
            request("/gatherings/a%20b"),
            request("/gatherings/a?token=x"),
            request("http://h/gatherings/a"),
            request("/elsewhere"),
            request("//[/gatherings/a"),
            request(more="Sec-WebSocket-Protocol: squire.v1+msgpack, squire.token.abc\r\n"),
            request(more="Sec-WebSocket-Protocol: chat\r\n"),
            request(more="Origin: https://a.example\r\nCookie: t=abc; u=\r\n"),
            b"\2" + request(more="Origin: https://a.example\r\n")[1:],
            b"\1" + request(more="Origin: http://h\r\nAuthorization: Bearer a.b.c\r\n")[1:],
            request(more="Sec-WebSocket-Extensions: permessage-deflate\r\n") + b"\x81\x80",
            request(lines=_LINES.replace(b"13", b"8")),
            request(lines=b"Host: h\r\n"),
            b"\0POST / HTTP/1.1\r\n\r\n",
            b"\0\x16\x03\x01\x02\x00\x01",
        ],
        [
            *[
                "Host: ",
                "Origin: ",
                "Cookie: ",
                "Upgrade: ",
                "Authorization: Bearer ",
                "%2F",
                "%00",
                "?token=",
            ],
            "Sec-WebSocket-Protocol: ",
            "Sec-WebSocket-Key: ",
            "\r\n",
            "\r\n\r\n",
            " HTTP/1.1",
            "/gatherings/",
            "squire.token.",
            "squire.v1+json",
        ],
    ),
)
