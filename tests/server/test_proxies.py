"""Proxies: whose connection a proxy passes on; only trusted proxies may say so."""

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import trio
import trio.testing
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from squire_gatherings import (
    BadSetting,
    HandshakeRequest,
    Identity,
    Proxies,
    ProxySays,
    ServerSettings,
    open_hall,
    serve,
)
from tests.server.attacks import is_closed, joined, reach, served, sockets
from tests.server.raw import RawClient
from tests.server.test_hostile import request
from tests.server.test_server import a_server, exchange, in_thread
from tests.support import examples

PROXY = "127.0.0.1"


def asked(**headers: str) -> HandshakeRequest:
    return HandshakeRequest(
        path="/", headers=[(name.replace("_", "-"), value) for name, value in headers.items()]
    )


@pytest.mark.parametrize(
    ("said", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        # Anybody may have written what comes before the last stranger.
        ("10.0.0.9, 6.6.6.6, 192.0.2.1", "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1, 10.0.0.7, 10.1.2.3", "192.0.2.1"),
        ("10.0.0.7", "10.0.0.7"),
        ("10.0.0.8 ,\t10.0.0.7", "10.0.0.8"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        # The reading stops at an unreadable value: the address read before it counts.
        ("unknown", PROXY),
        ("", PROXY),
        ("192.0.2.1, unknown", PROXY),
        ("192.0.2.1, nonsense, 10.0.0.7", "10.0.0.7"),
        ("192.0.2.1,", PROXY),
        ("192.0.2.999", PROXY),
        ("1.2.3.4:x y", PROXY),
    ],
)
def test_x_forwarded_for(said: str, client: str) -> None:
    proxies = Proxies(["127.0.0.1", "10.0.0.0/8"])
    assert proxies.client_of(asked(X_Forwarded_For=said), PROXY) == client
    # The other header doesn't count: a proxy that doesn't set it passes on what anybody wrote.
    assert proxies.client_of(asked(Forwarded=f"for={said}"), PROXY) == PROXY
    assert proxies.client_of(asked(), PROXY) == PROXY


@pytest.mark.parametrize(
    ("said", "client"),
    [
        ("for=192.0.2.1", "192.0.2.1"),
        ('For="192.0.2.1:4711";proto=https;by=10.0.0.1', "192.0.2.1"),
        ('for="[2001:db8::1]:4711"', "2001:db8::1"),
        ("for=6.6.6.6, for=192.0.2.1;proto=https , for=10.0.0.7", "192.0.2.1"),
        ('for=6.6.6.6;x="a,b;for=7.7.7.7", for=192.0.2.1', "192.0.2.1"),
        (r'for=192.0.2.1;x="\", for=6.6.6.6"', "192.0.2.1"),
        ("for=unknown", PROXY),
        ("for=_hidden", PROXY),
        ("proto=https", PROXY),
        ("for=192.0.2.1, proto=https", PROXY),
        ("for=192.0.2.1 for=6.6.6.6", PROXY),
        ('for="192.0.2.1', PROXY),
        ("", PROXY),
    ],
)
def test_forwarded(said: str, client: str) -> None:
    proxies = Proxies(["127.0.0.1", "10.0.0.0/8"], ProxySays.FORWARDED)
    assert proxies.client_of(asked(Forwarded=said), PROXY) == client
    assert proxies.client_of(asked(X_Forwarded_For="192.0.2.1"), PROXY) == PROXY


def test_several_lines_are_one_list() -> None:
    request = HandshakeRequest(
        path="/", headers=[("X-Forwarded-For", "6.6.6.6"), ("x-forwarded-for", "192.0.2.1")]
    )
    assert Proxies([PROXY]).client_of(request, PROXY) == "192.0.2.1"


@given(st.text(max_size=80), st.sampled_from(list(ProxySays)))
@settings(max_examples=examples(300))
def test_whatever_a_proxy_writes_the_last_that_it_appends_counts(
    said: str, says: ProxySays
) -> None:
    proxies = Proxies([PROXY], says)
    if says is ProxySays.FORWARDED:
        # An unclosed quote makes all of it unreadable, so no other address counts.
        found = proxies.client_of(asked(Forwarded=f"{said}, for=192.0.2.1"), PROXY)
        assert found in ("192.0.2.1", PROXY)
    else:
        found = proxies.client_of(asked(X_Forwarded_For=f"{said},192.0.2.1"), PROXY)
        assert found == "192.0.2.1"


@pytest.mark.parametrize("text", ["nonsense", "10.0.0.1/8", "10.0.0.0/33", "", "10.0.0.0/-1"])
def test_a_proxy_has_an_address(text: str) -> None:
    with pytest.raises(BadSetting, match="a proxy is ADDRESS or ADDRESS/BITS"):
        Proxies([text])
    with pytest.raises(BadSetting, match="several"):
        Proxies("10.0.0.1")


def test_named() -> None:
    proxies = Proxies(["127.0.0.1", "2001:db8::/32"])
    for peer in ("127.0.0.1", "::ffff:127.0.0.1", "2001:db8::7"):
        assert proxies.named(peer)
    for other in ("127.0.0.2", "2001:db9::", None, "nonsense"):
        assert not proxies.named(other)
    assert not Proxies().named("127.0.0.1")


# On real sockets.


class Seen:
    """Remembers the address from which each client came, as authentication sees it."""

    def __init__(self) -> None:
        self.peers: list[str | None] = []

    async def authenticate(
        self, token: str | None, gathering: str, request: HandshakeRequest | None
    ) -> Identity:
        assert request is not None
        self.peers.append(request.peer)
        return Identity()


def by(says: ProxySays, **more: int) -> ServerSettings:
    return ServerSettings(proxies=Proxies([PROXY], says), **more)


def says_of(says: ProxySays, client: str) -> dict[str, str]:
    if says is ProxySays.FORWARDED:
        return {"Forwarded": f"for={client}"}
    return {"X-Forwarded-For": client}


HEADERS = [ProxySays.X_FORWARDED_FOR, ProxySays.FORWARDED]


@pytest.mark.parametrize("says", HEADERS)
async def test_the_address_that_a_named_proxy_says_counts(says: ProxySays) -> None:
    seen = Seen()
    settings = by(says, max_connections_per_address=1)
    async with a_server(settings, authenticate=seen.authenticate) as (_, server, url):

        def come() -> None:
            headers = list(says_of(says, "192.0.2.1").items())
            with RawClient(f"{url}/gatherings/room", headers=headers) as client:
                client.say(type="join")
                assert client.hear()["type"] == "joined"
                # The address has used up its place; another one behind the same proxy has its own.
                answer = exchange(url, with_headers(says_of(says, "192.0.2.1")))
                assert b"503" in answer
                other = list(says_of(says, "192.0.2.2").items())
                with RawClient(f"{url}/gatherings/room", headers=other) as second:
                    second.say(type="join")
                    assert second.hear()["type"] == "joined"
                # This header comes from an address that isn't a named proxy, so it means nothing.
                forged = list(says_of(says, "192.0.2.3").items())
                with RawClient(f"{url}/gatherings/room", headers=forged, own="127.0.0.9") as third:
                    third.say(type="join")
                    assert third.hear()["type"] == "joined"

        await in_thread(come)
        assert seen.peers == ["192.0.2.1", "192.0.2.2", "127.0.0.9"]
        assert server.numbers().refused == {"connections_per_address": 1}


def with_headers(headers: dict[str, str]) -> bytes:
    head = request().removesuffix(b"\r\n")
    return head + b"".join(f"{k}: {v}\r\n".encode() for k, v in headers.items()) + b"\r\n"


V1 = b"PROXY TCP4 192.0.2.1 10.0.0.1 1111 443\r\n"


async def test_the_proxy_protocol_comes_first() -> None:
    settings = by(ProxySays.PROXY_PROTOCOL, max_handshakes_per_address=2)
    async with a_server(settings) as (_, server, url):

        def come() -> None:
            # The proxy's own connection checks whether the server is there.
            assert b" 101 " in first_answer(url, b"PROXY UNKNOWN\r\n" + request())
            assert b" 101 " in first_answer(url, V1 + request())
            # Without its header it is refused; a header from another address is no request.
            with suppress(ConnectionResetError):
                assert exchange(url, request()) == b""
            assert b"HTTP/1.1 400" in exchange_from("127.0.0.9", url, V1 + request())
            assert b" 101 " in first_answer(url, request(), own="127.0.0.9")

        await in_thread(come)
        await server.wait_empty()
        assert server.numbers().refused == {"proxy": 1}
        await reach(server, 0)
        # The header tells silent clients behind the proxy apart.
        async with sockets(url, 3, first=1) as own:
            assert len(own) == 3
        await reach(server, 0)


def first_answer(url: str, data: bytes, own: str = PROXY) -> bytes:
    host, _, port = url.removeprefix("ws://").partition(":")
    with socket.create_connection((host, int(port)), 20, (own, 0)) as client:
        for byte in data[:60]:
            client.sendall(bytes([byte]))
        client.sendall(data[60:])
        return client.recv(65536)


def exchange_from(own: str, url: str, data: bytes) -> bytes:
    return first_answer(url, data, own)


async def test_silent_clients_behind_a_proxy_give_way_by_their_own_address() -> None:
    settings = by(ProxySays.PROXY_PROTOCOL, max_handshakes_per_address=5)
    async with a_server(settings) as (_, server, url):
        host, _, port = url.removeprefix("ws://").partition(":")
        streams = []
        for number in range(12):
            stream = await trio.open_tcp_stream(host, int(port))
            client = "192.0.2.66" if number else "192.0.2.1"
            await stream.send_all(f"PROXY TCP4 {client} 10.0.0.1 1 1\r\n".encode())
            streams.append(stream)
        while server.numbers().gave_way < 6:
            await trio.testing.wait_all_tasks_blocked(0.001)
        assert server.numbers().handshakes == 6
        # The innocent client is still served.
        await streams[0].send_all(request())
        assert b" 101 " in await streams[0].receive_some()
        for stream in streams:
            await stream.aclose()
        await reach(server, 0)


@asynccontextmanager
async def a_tls_server(
    context: ssl.SSLContext, settings: ServerSettings, seen: Seen
) -> AsyncIterator[int]:
    async with (
        open_hall(authenticate=seen.authenticate) as hall,
        trio.open_nursery() as nursery,
    ):
        serving = partial(
            serve, hall, host="127.0.0.1", port=0, settings=settings, ssl_context=context
        )
        server = await nursery.start(serving)
        yield server.addresses[0][1]
        nursery.cancel_scope.cancel()


async def test_the_proxy_protocol_comes_before_tls() -> None:
    authority = trustme.CA()
    ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(ours)
    authority.configure_trust(theirs)
    seen = Seen()
    async with a_tls_server(ours, by(ProxySays.PROXY_PROTOCOL), seen) as port:
        with trio.fail_after(20):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.send_all(V1)
            secured = trio.SSLStream(stream, theirs, server_hostname="localhost")
            await secured.send_all(request() + b"\x81\x8f\0\0\0\0" + b'{"type":"join"}')
            answer = b""
            while b'"joined"' not in answer:
                answer += await secured.receive_some()
            await secured.aclose()
    assert seen.peers == ["192.0.2.1"]


async def test_an_innocent_client_is_served_beside_a_flood_through_the_proxy() -> None:
    settings = by(ProxySays.X_FORWARDED_FOR, max_handshakes=50, max_connections_per_address=3)
    async with a_server(settings) as (_, server, url), sockets(url, 200, addresses=5) as silent:
        # Who gives way is counted first, and closed by its own task.
        while sum(map(is_closed, silent)) < 150:
            await trio.testing.wait_all_tasks_blocked(0.001)
        assert server.numbers().gave_way >= 150

        def innocent() -> None:
            with joined(url, own="127.0.8.8"):
                pass

        await in_thread(innocent)
        await served(url)
