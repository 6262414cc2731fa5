"""Relaying: a client of a node of another machine is served there, by way of the one it reached."""

import socket
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
import trustme
from wsproto.events import CloseConnection

from squire_gatherings import BadSetting, Proxies, ServerSettings
from squire_gatherings._cluster.peer_tls import PeerTls
from squire_gatherings._cluster.peers import Peer
from squire_gatherings._cluster.proof import MAGIC
from squire_gatherings._cluster.upkeep import Away
from squire_gatherings._server.elsewhere import Beginning
from squire_gatherings._server.tls import Certificate
from squire_gatherings.client import open_client
from tests.cluster.nodes import SECRET, nodes, owned_by
from tests.cluster.test_passing import JOIN, are, connected, places, refusal, request, until_joined
from tests.server.attacks import joined, served
from tests.server.certificates import AUTHORITY, trusting, write


async def test_a_client_is_served_by_the_other_node(tmp_path: Path) -> None:
    room = owned_by(1, 2)
    async with nodes(tmp_path, is_far=True) as (one, other):
        before = places(one)
        async with open_client(one.url) as client:
            async with client.join(room) as gathering:
                assert await gathering.submit({"pad": "x" * 200_000}) == 1
                assert (one.router.tally.between, one.server.connections) == (1, 0)
                # It takes no place here but the memory of a connection, and counts there.
                assert places(one)[:3] == (0, 0, 0)
                [connection] = other.server.all_connections
                assert connection.meter.peer == "127.0.0.1"
                assert other.server.numbers().clients == 1
                async with open_client(other.url) as there, there.join(room) as same:
                    await same.submit({"n": 2})
                    while gathering.seq < 2:
                        await anext(gathering)
                await other.hall.disperse(room)
                async for _ in gathering:
                    pass
                assert gathering.dispersed is not None
            with trio.fail_after(5):
                await one.router.wait_empty()
            await are(before, one)


async def test_the_address_is_what_the_proxy_told(tmp_path: Path) -> None:
    settings = ServerSettings(proxies=Proxies(["127.0.0.1"]))
    async with (
        nodes(tmp_path, settings=settings, is_far=True) as (one, other),
        await connected(one) as stream,
    ):
        await stream.send_all(request(owned_by(1, 2), b"X-Forwarded-For: 192.0.2.7") + JOIN)
        await until_joined(stream)
        [connection] = other.server.all_connections
        assert connection.meter.peer == "192.0.2.7"


async def test_clients_by_tls_are_relayed_decrypted(tmp_path: Path) -> None:
    certificate = Certificate(*map(str, write(tmp_path)))
    async with nodes(tmp_path, ssl_context=certificate, is_far=True) as (one, other):
        url = one.url.replace("ws:", "wss:")
        async with (
            open_client(url, ssl_context=trusting()) as client,
            client.join(owned_by(1, 2)) as gathering,
        ):
            assert await gathering.submit({"n": 1}) == 1
            assert other.peers.taken == 1


async def test_when_the_node_dies_its_clients_are_told_to_come_again(tmp_path: Path) -> None:
    room = owned_by(1, 2)
    async with nodes(tmp_path, is_far=True) as (one, other):
        client = await trio.to_thread.run_sync(joined, one.url, room)
        other.scope.cancel()
        end = await trio.to_thread.run_sync(client.next)
        assert end == CloseConnection(code=1012, reason="the node has gone")
        client.socket.close()
        with trio.fail_after(5):
            await one.router.wait_empty()
        # Until it's back, or another one has what it had.
        answer = await refusal(one, room)
        assert answer.startswith("HTTP/1.1 503 ")
        assert "\r\nRetry-After: 5\r\n" in answer
        await served(one.url, owned_by(0, 2))


async def test_when_the_node_in_between_stops_its_clients_come_again(tmp_path: Path) -> None:
    room = owned_by(1, 2)
    async with nodes(tmp_path, is_far=True) as (one, other):
        client = await trio.to_thread.run_sync(joined, one.url, room)
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.router.close)
                end = await trio.to_thread.run_sync(client.next)
        assert end == CloseConnection(code=1012, reason="the node has gone")
        client.socket.close()
        # The gathering knows nothing of it but that a client has gone.
        await served(other.url, room)


async def test_where_both_stop_the_last_notice_passes(tmp_path: Path) -> None:
    async with nodes(tmp_path, is_far=True) as (one, other):
        client = await trio.to_thread.run_sync(joined, one.url, owned_by(1, 2))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.router.close)
            nursery.start_soon(other.hall.close)
            notice = await trio.to_thread.run_sync(client.hear)
            assert (notice["type"], notice["reason"]) == ("dispersed", "shutdown")
            end = await trio.to_thread.run_sync(client.end)
            assert end.code == 1001
            client.socket.close()


async def test_a_client_that_goes_is_gone_at_the_other_node(tmp_path: Path) -> None:
    async with nodes(tmp_path, is_far=True) as (one, other):
        client = await trio.to_thread.run_sync(joined, one.url, owned_by(1, 2))
        assert other.server.connections == 1
        client.socket.close()
        with trio.fail_after(5):
            await other.server.wait_empty()
            await one.router.wait_empty()


async def test_there_is_a_bound_on_those_it_stays_in_between_for(tmp_path: Path) -> None:
    room = owned_by(1, 2)
    async with nodes(tmp_path, is_far=True) as (one, _):
        one.router.max_between = 1
        first = await trio.to_thread.run_sync(joined, one.url, room)
        answer = await refusal(one, room)
        assert answer.startswith("HTTP/1.1 503 ")
        assert "too many clients" in answer
        first.socket.close()
        with trio.fail_after(5):
            await one.router.wait_empty()
        await served(one.url, room)


async def test_a_node_that_does_not_know_the_secret_gets_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with nodes(tmp_path, is_far=True) as (one, other), trio.open_nursery() as nursery:
        peer = Peer(other.router.own(), b"another secret", one.router.own)
        nursery.start_soon(peer.run)
        with pytest.raises(Away):
            await peer.relay(None, Beginning())
        assert other.peers.taken == 0
        nursery.cancel_scope.cancel()
    assert "a connection was refused" in caplog.messages
    assert not any("another secret" in str(vars(one)) for one in caplog.records)
    assert not any(SECRET.decode() in str(vars(one)) for one in caplog.records)


async def test_whoever_else_comes_to_the_port_is_sent_away(tmp_path: Path) -> None:
    async with nodes(tmp_path, is_far=True) as (one, other):
        host, _, port = other.router.own().address.partition(":")

        def attack(said: bytes) -> bytes:
            with socket.create_connection((host, int(port)), timeout=20) as hostile:
                hostile.sendall(said)
                hostile.shutdown(socket.SHUT_WR)
                got = b""
                while data := hostile.recv(1000):
                    got += data
                return got

        for said in (b"", b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", MAGIC):
            assert await trio.to_thread.run_sync(partial(attack, said)) == b""
        await served(one.url, owned_by(1, 2))


def peer_tls(folder: Path) -> PeerTls:
    """Return what nodes have that trust each other."""
    certificate, key = write(folder)
    authority = folder / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(str(authority))
    return PeerTls(str(certificate), str(key), str(authority))


async def test_nodes_may_speak_tls(tmp_path: Path) -> None:
    tls = peer_tls(tmp_path)
    async with (
        nodes(tmp_path, is_far=True, tls=(tls, tls)) as (one, other),
        open_client(one.url) as client,
        client.join(owned_by(1, 2)) as gathering,
    ):
        assert await gathering.submit({"pad": "x" * 200_000}) == 1
        assert other.peers.taken == 1
        # A renewed certificate that can't be used changes nothing.
        await trio.Path(tls.certificate).write_text("nonsense")
        assert tls.server() is tls.server()
        assert await gathering.submit({"n": 2}) == 2


@pytest.mark.parametrize("is_encrypted", [True, False])
async def test_a_node_that_is_not_trusted_gets_no_client(
    tmp_path: Path, is_encrypted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Its certificate is another authority's, or it has none."""
    stranger = trustme.CA()
    tls, other_tls = peer_tls(tmp_path), None
    if is_encrypted:
        (tmp_path / "x").mkdir()
        made = stranger.issue_cert("127.0.0.1")
        certificate, key = tmp_path / "x" / "cert.pem", tmp_path / "x" / "key.pem"
        made.cert_chain_pems[0].write_to_path(str(certificate))
        made.private_key_pem.write_to_path(str(key))
        other_tls = PeerTls(str(certificate), str(key), tls.authority)
    async with nodes(tmp_path, is_far=True, tls=(tls, other_tls), waits=False) as (one, other):
        answer = await refusal(one, owned_by(1, 2))
        assert answer.startswith("HTTP/1.1 503 ")
        assert other.peers.taken == 0
    assert "a node can't be reached" in caplog.messages


def test_files_that_cannot_be_used_are_told_at_the_start(tmp_path: Path) -> None:
    tls = peer_tls(tmp_path)
    for authority in (tmp_path / "none", Path(str(tls.key))):
        with pytest.raises(BadSetting, match="can't trust nodes by"):
            PeerTls(tls.certificate, tls.key, str(authority))
