"""Outgoing frames, read back by a parser that didn't write them."""

import pytest
from wsproto.frame_protocol import FrameProtocol, Opcode

from squire_gatherings._server.sending import MAX_SMALL, frame_of
from squire_gatherings._wire.codecs import JSON, MSGPACK, Codec

SIZES = (0, 1, 2, 125, 126, 127, MAX_SMALL, MAX_SMALL + 1, 65_535, 65_536, 200_000)


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
def test_a_frame_of_any_size_is_one_whole_message(codec: Codec) -> None:
    kind = Opcode.TEXT if codec.is_text else Opcode.BINARY
    for size in (*SIZES, *SIZES):
        payload = bytes(n % 89 + 32 for n in range(size))
        reader = FrameProtocol(client=True, extensions=[])
        reader.receive_bytes(frame_of(codec, payload))
        received = b""
        for frame in reader.received_frames():
            assert frame.opcode in (kind, Opcode.CONTINUATION)
            data = frame.payload
            assert not isinstance(data, tuple)
            received += data.encode() if isinstance(data, str) else bytes(data)
            last = frame
        assert received == payload
        assert last.message_finished
