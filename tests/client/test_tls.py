"""TLS that fails: the client says at once why. On real sockets."""

import datetime
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trustme

from squire_gatherings import open_hall, serve_stream
from squire_gatherings._values.errors import CannotConnect
from squire_gatherings.client import open_client
from tests.client.world import ROOM

CA = trustme.CA()


def server_context(cert: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert.configure_cert(context)
    return context


def client_context(*, trusting: bool = True) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if trusting:
        CA.configure_trust(context)
    return context


@asynccontextmanager
async def serving(context: ssl.SSLContext | None) -> AsyncIterator[int]:
    async with open_hall(store="memory:") as hall, trio.open_nursery() as nursery:

        async def serve(stream: Any) -> None:
            if context is not None:
                stream = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
                try:
                    await stream.do_handshake()
                except trio.BrokenResourceError:
                    await trio.aclose_forcefully(stream)
                    return
            await serve_stream(hall, stream)

        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def join(url: str, context: ssl.SSLContext | None = None, **settings: Any) -> None:
    async with (
        open_client(url, ssl_context=context, **settings) as client,
        client.join(ROOM) as gathering,
    ):
        await gathering.submit({"n": 1})


async def test_a_client_joins_over_tls() -> None:
    async with serving(server_context(CA.issue_cert("127.0.0.1"))) as port:
        await join(f"wss://127.0.0.1:{port}", client_context())


EXPIRED = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("cert", "trusting", "says"),
    [
        (CA.issue_cert("127.0.0.1"), False, "isn't trusted .*certificate"),
        (CA.issue_cert("127.0.0.1", not_after=EXPIRED), True, "isn't trusted .*expired"),
        (CA.issue_cert("example.org"), True, "isn't trusted .*mismatch"),
    ],
)
async def test_a_bad_certificate_fails_at_once(
    cert: trustme.LeafCert, trusting: bool, says: str
) -> None:
    async with serving(server_context(cert)) as port:
        # It fails at once: patience doesn't help.
        with trio.fail_after(20), pytest.raises(CannotConnect, match=says):
            await join(
                f"wss://127.0.0.1:{port}", client_context(trusting=trusting), join_patience=1000.0
            )


async def test_tls_to_a_plain_port_is_told() -> None:
    async with serving(None) as port:
        # The server says nothing, so the client can't say more than that.
        with pytest.raises(CannotConnect, match="speak TLS"):
            await join(f"wss://127.0.0.1:{port}", client_context(), connect_timeout=0.5)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"SSH-2.0-x\r\n"])
async def test_tls_to_a_port_that_answers_in_plain_text_is_told(answer: bytes) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            if answer:
                await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        with trio.fail_after(20), pytest.raises(CannotConnect, match="TLS"):
            await join(f"wss://127.0.0.1:{port}", client_context())
        nursery.cancel_scope.cancel()


async def test_plain_text_to_a_tls_port_is_told() -> None:
    async with serving(server_context(CA.issue_cert("127.0.0.1"))) as port:
        with trio.fail_after(20), pytest.raises(CannotConnect, match="TLS"):
            await join(f"ws://127.0.0.1:{port}")


async def test_a_certificate_that_expires_meanwhile_is_a_pause() -> None:
    """The server is started anew with a bad certificate, and then with a good one."""
    good, bad = (
        server_context(CA.issue_cert("127.0.0.1")),
        server_context(CA.issue_cert("127.0.0.1", not_after=EXPIRED)),
    )
    streams: list[Any] = []
    attempts = 0

    async with open_hall(store="memory:") as hall, trio.open_nursery() as nursery:

        async def serve(stream: Any) -> None:
            nonlocal attempts
            attempts += 1
            streams.append(stream)
            context = bad if 1 < attempts < 4 else good
            secured = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
            try:
                await secured.do_handshake()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            await serve_stream(hall, secured)

        [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        settings: dict[str, Any] = {"first_pause": 0.01, "max_pause": 0.02}
        async with (
            open_client(
                f"wss://127.0.0.1:{port}", ssl_context=client_context(), **settings
            ) as client,
            client.join(ROOM) as gathering,
        ):
            await trio.aclose_forcefully(streams[0])
            with trio.fail_after(20):
                assert await gathering.submit({"n": 1}) == 1
        assert attempts == 4
        nursery.cancel_scope.cancel()
