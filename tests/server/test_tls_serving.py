"""`serve` with TLS: real clients, renewed certificates, hostile handshakes."""

import os
import ssl
from pathlib import Path

import pytest
import trio
import trio.testing
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from squire_gatherings import BadSetting, CannotConnect, ServerSettings
from squire_gatherings._hall.parts import quotas_of
from squire_gatherings._server.tls import Certificate, server_context
from squire_gatherings.client import open_client
from tests.server.attacks import is_closed, reach, served, sockets
from tests.server.certificates import a_tls_server, trusting, write
from tests.server.test_hostile import request


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return Certificate(*map(str, write(tmp_path)))


async def test_clients_are_served_and_told_of_the_end(certificate: Certificate) -> None:
    async with (
        a_tls_server(certificate) as (hall, server, url),
        open_client(url, ssl_context=trusting()) as client,
        client.join("room") as gathering,
    ):
        await gathering.submit({"pad": "x" * 100_000})
        assert server.connections == 1
        await hall.disperse("room")
        async for _ in gathering:
            pass
        assert gathering.dispersed is not None
        assert gathering.dispersed.reason == "admin"


async def test_the_end_is_said_in_tls_too(certificate: Certificate) -> None:
    """A connection that is cut off in the middle doesn't look like one that has ended."""
    async with a_tls_server(certificate) as (hall, _, url):
        port = int(url.rpartition(":")[2])
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        secured = trio.SSLStream(stream, trusting(), server_hostname="127.0.0.1")
        join = b"\x81\x8f\0\0\0\0" + b'{"type":"join"}'
        await secured.send_all(request() + join)
        got = b""
        while b'"joined"' not in got:
            got += await secured.receive_some()
        await hall.disperse("room")
        while b'"dispersed"' not in got:
            got += await secured.receive_some()
        await secured.send_all(b"\x88\x82\0\0\0\0\x03\xe8")
        # Without a close_notify this line would raise.
        while data := await secured.receive_some():
            got += data
        await secured.aclose()


async def test_a_new_certificate_is_for_new_connections(tmp_path: Path) -> None:
    certificate = Certificate(*map(str, write(tmp_path)))
    async with (
        a_tls_server(certificate) as (_, _, url),
        open_client(url, ssl_context=trusting()) as client,
        client.join("room") as gathering,
    ):
        first = await shown(url)
        write(tmp_path)
        assert await shown(url) == first
        certificate.reload()
        second = await shown(url)
        assert second != first
        # A broken certificate, or one for another key, changes nothing.
        for broken in (b"", b"nonsense"):
            (tmp_path / "cert.pem").write_bytes(broken)
            with pytest.raises(BadSetting, match="can't use the certificate"):
                certificate.reload()
        made, _ = write(tmp_path)
        other = tmp_path / "other"
        other.mkdir()
        _, key = write(other)
        key.replace(tmp_path / "key.pem")
        with pytest.raises(BadSetting, match="isn't that of the certificate"):
            certificate.reload()
        made.unlink()
        with pytest.raises(BadSetting, match="No such file"):
            certificate.reload()
        assert await shown(url) == second
        assert await gathering.submit({"n": 1})


async def shown(url: str) -> bytes:
    """Return the certificate that the server shows."""
    stream = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
    async with trio.SSLStream(stream, trusting(), server_hostname="127.0.0.1") as secured:
        await secured.do_handshake()
        found = secured.getpeercert(binary_form=True)
        assert isinstance(found, bytes)
        return found


def test_only_modern_tls_is_spoken(tmp_path: Path) -> None:
    context = server_context(*map(str, write(tmp_path)))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    old = [one for one in context.get_ciphers() if one["protocol"] != "TLSv1.3"]
    assert old
    assert all("ECDHE" in one["name"] and one["aead"] for one in old)


async def test_old_versions_are_refused(certificate: Certificate) -> None:
    async with a_tls_server(certificate) as (_, server, url):
        old = trusting()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        async with open_client(url, ssl_context=old) as client, client.join("room"):
            pass
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(CannotConnect):
            await served(url, ssl_context=old)
        await served(url, ssl_context=trusting())
        await reach(server, 0)


def test_a_key_with_a_passphrase_is_refused_without_asking(tmp_path: Path) -> None:
    certificate, path = write(tmp_path)
    key = load_pem_private_key(path.read_bytes(), None)
    secret = BestAvailableEncryption(b"secret")
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))
    with pytest.raises(BadSetting, match="passphrase") as caught:
        server_context(str(certificate), str(path))
    assert "secret" not in str(caught.value)


def test_what_is_wrong_with_a_file_is_said_and_with_which(tmp_path: Path) -> None:
    certificate, key = write(tmp_path)
    both, pipe = tmp_path / "both.pem", tmp_path / "pipe"
    os.mkfifo(pipe)
    broken = certificate.read_bytes()[:-60]

    def said(*files: Path) -> str:
        with pytest.raises(BadSetting) as caught:
            server_context(*map(str, files))
        return str(caught.value).removeprefix(f"can't use the certificate: {tmp_path}/")

    assert said(certificate, tmp_path / "none") == "none: No such file or directory"
    assert said(tmp_path / "none", key) == "none: No such file or directory"
    for name in (pipe, tmp_path):
        assert said(name, key).endswith(": is not a file")
        assert said(certificate, name).endswith(": is not a file")
    assert said(certificate) == "cert.pem: there is no PEM key in it that is whole"
    assert said(key, key) == "key.pem: there is no PEM certificate in it that is whole"
    assert said(certificate, certificate) == "cert.pem: there is no PEM key in it that is whole"
    both.write_bytes(broken + key.read_bytes())
    assert said(both) == "both.pem: there is no PEM certificate in it that is whole"


async def test_hostile_handshakes(certificate: Certificate) -> None:
    """Clients send nothing, plain HTTP, nonsense, or a byte at a time, or end in the middle."""
    settings = ServerSettings(handshake_timeout=0.3, max_handshakes=30)
    async with a_tls_server(certificate, settings) as (hall, server, url):
        plain = url.replace("wss:", "ws:")
        async with sockets(plain, 100, addresses=10) as many:
            for number, one in enumerate(many):
                match number % 5:
                    case 0:
                        one.sendall(request())
                    case 1:
                        one.sendall(b"\x16\x03\x01\x02\x00\x01" + bytes(40))
                    case 2:
                        one.sendall(b"\x16")
                    case 3:
                        one.sendall(bytes(range(256)))
            await served(url, ssl_context=trusting())
            # All of them are gone in time.
            await reach(server, 0)
            while not all(map(is_closed, many)):
                await trio.testing.wait_all_tasks_blocked(0.001)
        while quotas_of(hall).budget.connections:
            await trio.testing.wait_all_tasks_blocked(0.001)
        await served(url, ssl_context=trusting())


async def test_silent_ones_after_the_tls_handshake_give_way(certificate: Certificate) -> None:
    settings = ServerSettings(max_handshakes=5)
    async with a_tls_server(certificate, settings) as (_, server, url):
        port = int(url.rpartition(":")[2])
        streams = []
        for _ in range(8):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            secured = trio.SSLStream(stream, trusting(), server_hostname="127.0.0.1")
            await secured.do_handshake()
            streams.append(secured)
        assert server.numbers().gave_way == 3
        await served(url, ssl_context=trusting())
        for secured in streams:
            await trio.aclose_forcefully(secured)
        await reach(server, 0)
