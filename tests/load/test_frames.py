"""The load test's own frames, compared with those of `wsproto`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.frame_protocol import CloseReason, FrameProtocol, Opcode

from squire_gatherings._load.clients import frames

TEXTS = st.one_of(st.text(max_size=300), st.sampled_from([125, 126, 65536]))
"""Texts, or a text's length: long texts needn't be drawn."""


def payload(text: str | int) -> bytes:
    return text.encode() if isinstance(text, str) else b"a" * text


@given(st.lists(TEXTS, max_size=4), st.integers(1, 70_000))
def test_reads_what_wsproto_writes_however_it_is_cut(texts: list[str | int], cut: int) -> None:
    payloads = [payload(text) for text in texts]
    server = FrameProtocol(client=False, extensions=[])
    data = b"".join(bytes(server.send_data(one.decode())) for one in payloads)
    cut = max(cut, len(data) // 500)
    reader = frames.FrameReader()
    read = [one for at in range(0, len(data), cut) for one in reader.feed(data[at : at + cut])]
    assert read == [(frames.TEXT, one) for one in payloads]


@given(TEXTS)
def test_writes_what_wsproto_reads(drawn: str | int) -> None:
    server = FrameProtocol(client=False, extensions=[])
    server.receive_bytes(frames.text(payload(drawn)) + frames.ping(b"p"))
    text, ping = server.received_frames()
    assert (text.opcode, text.payload) == (Opcode.TEXT, payload(drawn).decode())
    assert (ping.opcode, ping.payload) == (Opcode.PING, b"p")


def test_puts_fragments_together_around_a_ping() -> None:
    server = FrameProtocol(client=False, extensions=[])
    data = bytes(server.send_data("", fin=False) + server.send_data("ab", fin=False))
    data += bytes(server.ping(b"p")) + bytes(server.send_data("c", fin=True))
    assert frames.FrameReader().feed(data) == [(frames.PING, b"p"), (frames.TEXT, b"abc")]


def test_reads_a_close_code() -> None:
    server = FrameProtocol(client=False, extensions=[])
    [(opcode, body)] = frames.FrameReader().feed(bytes(server.close(CloseReason.GOING_AWAY)))
    assert (opcode, frames.close_code(body)) == (frames.CLOSE, 1001)
    assert frames.close_code(b"") == frames.NO_STATUS


@pytest.mark.parametrize(
    "data",
    [
        b"\x82\x00",
        b"\x80\x00",
        b"\x81\x80",
        b"\x81\x7f" + (2**40).to_bytes(8, "big"),
    ],
    ids=["binary", "continuation of nothing", "masked", "too large"],
)
def test_refuses_what_no_server_may_send(data: bytes) -> None:
    with pytest.raises(frames.BadFrame):
        frames.FrameReader().feed(data)


def test_the_handshake_tells_why_it_was_refused() -> None:
    handshake = frames.Handshake("::1", 80, "/gatherings/x")
    assert b"Host: [::1]:80\r\n" in handshake.request
    assert handshake.feed(b"HTTP/1.1 503 Service Unavail") is None
    with pytest.raises(frames.BadFrame, match="503 Service Unavailable full"):
        handshake.feed(b"able\r\nA: b\r\n\r\nfull")


def test_the_handshake_must_be_for_our_key() -> None:
    answer = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: bm8=\r\n\r\n"
    with pytest.raises(frames.BadFrame, match="another key"):
        frames.Handshake("127.0.0.1", 80, "/").feed(answer)
    with pytest.raises(frames.BadFrame, match="no Sec-WebSocket-Accept"):
        frames.Handshake("127.0.0.1", 80, "/").feed(b"HTTP/1.1 101 x\r\n\r\n")
