"""The server of the stories takes whatever comes, and judges whatever is said."""

from contextlib import suppress

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from squire_gatherings._conform.encodings import ENCODINGS, Encoding
from squire_gatherings._conform.server import open_server
from tests.support import examples


@settings(max_examples=examples(50))
@given(st.sampled_from(list(ENCODINGS.values())), st.binary(max_size=40))
def test_whatever_bytes_come_are_a_value_or_none(encoding: Encoding, data: bytes) -> None:
    with suppress(ValueError):
        encoding.decode(data)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET //[ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /gatherings/%zz?a=%00 HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /control HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
    ],
    ids=range(7),
)
async def test_whatever_knocks_is_refused_and_the_server_goes_on(said: bytes) -> None:
    async with open_server("127.0.0.1", 0) as server:
        for _ in range(2):
            async with await trio.open_tcp_stream(server.host, server.port) as stream:
                answer = b""
                # It may hang up in the middle of what is too long.
                with suppress(trio.BrokenResourceError):
                    await stream.send_all(said)
                    await stream.send_eof()
                    async for part in stream:
                        answer += part
                assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
