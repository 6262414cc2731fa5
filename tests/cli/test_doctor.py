"""`doctor`: each check, what it says of what is wrong, and the way through a proxy."""

import json
import os
import sqlite3
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from websockets.exceptions import ConnectionClosedError, PayloadTooBig

from squire_gatherings import ServerSettings, serve
from squire_gatherings._cli.doctor.clocks import check_clock
from squire_gatherings._cli.doctor.files import check_store_files, check_token_file, file_system_of
from squire_gatherings._cli.doctor.findings import Finding, Level, fail, ok, warn, worst
from squire_gatherings._cli.doctor.libraries import wrong_libraries
from squire_gatherings._cli.doctor.limits import check_memory, check_open_files
from squire_gatherings._cli.doctor.ports import check_port
from squire_gatherings._cli.doctor.running import check_running
from squire_gatherings._cli.doctor.settings import check_certificate, read_setup
from squire_gatherings._cli.doctor.sleep import check_sleep
from squire_gatherings._cli.doctor.sockets import CannotOpen, open_socket
from squire_gatherings._cli.doctor.through import Way, address_seen, check_through
from squire_gatherings._cli.operators.asking import PortOptions, open_port
from squire_gatherings._cli.serve import serve as serve_command
from squire_gatherings._stores.sqlite.store import open_sqlite_store
from tests.admin.port import open_port as an_admin_port
from tests.cli.admin_server import an_admin_server
from tests.cli.process import run_here
from tests.server.certificates import a_tls_server
from tests.stores.appends import a_sleeper
from tests.webhook.receiver import SECRET

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:26 / /var/lib rw - nfs4 server:/x rw
31 30 0:27 / /var/lib/my\\040rooms rw - xfs /dev/sdb rw
nonsense
"""


def levels(findings: list[Finding]) -> dict[str, str]:
    return {one.check: str(one.level) for one in findings}


def options(**changes: Any) -> dict[str, Any]:
    with serve_command.make_context("serve", []) as context:
        return {**context.params, **changes}


def test_findings() -> None:
    assert ok("a", "fine").line == "OK    a            fine"
    assert fail("disk", "full\n", "make room").line == "FAIL  disk         full\\n: make room"
    assert worst([ok("a", ""), warn("b", "", ""), ok("c", "")]) is Level.WARN
    assert worst([fail("a", "", ""), warn("b", "", "")]) is Level.FAIL
    assert worst([]) is Level.OK


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/var/library", "ext4"),
        ("/var/lib", "nfs4"),
        ("/var/lib/squire", "nfs4"),
        ("/var/lib/my rooms/a", "xfs"),
    ],
)
def test_file_systems(path: str, kind: str) -> None:
    assert file_system_of(path, MOUNTS) == kind
    assert file_system_of(path, "") is None


def test_a_store_that_is_well(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    assert set(levels([*check_store_files(f"sqlite:///{path}", "")]).values()) == {"ok"}
    path.touch(0o600)
    [store, disk] = check_store_files(f"sqlite:///{path}", "")
    assert (store.level, disk.level) == (Level.OK, Level.OK)


def test_a_store_that_is_not(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    path.touch(0o644)
    path.chmod(0o644)
    wal = tmp_path / "rooms.sqlite3-wal"
    wal.touch()
    wal.chmod(0o660)
    store = f"sqlite:///{path}"
    says = [one.line for one in check_store_files(store, "") if one.level is Level.WARN]
    assert [line.partition("others may use ")[2] for line in says] == [
        f"{path} (0644): chmod 600 {path}",
        f"{wal} (0660): chmod 600 {wal}",
    ]
    network = f"1 1 0:1 / {tmp_path} rw - nfs4 x rw"
    assert levels([*check_store_files(store, network)])["file system"] == "fail"
    fleeting = network.replace("nfs4", "tmpfs")
    assert levels([*check_store_files(store, fleeting)])["file system"] == "warn"
    [missing] = check_store_files(f"sqlite:///{tmp_path}/none/rooms.sqlite3", "")
    assert (missing.level, "mkdir" in missing.do) == (Level.FAIL, True)
    assert levels([*check_store_files(f"sqlite:///{tmp_path}", "")])["store"] == "fail"
    assert levels([*check_store_files("memory:", "")]) == {"store": "warn"}


async def test_those_that_sleep(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    store = f"sqlite:///{path}"

    def found(now: float = 10.0, **changes: Any) -> list[str]:
        setup, _ = read_setup(options(**changes), None)
        assert setup is not None
        return [one.line for one in check_sleep(setup, store, now)]

    [never] = found(sleep_after=3600.0, idle_timeout=3600.0)
    assert never.startswith("WARN  sleep        nothing falls asleep after 1h, ")
    assert found(sleep_after=3599.0, idle_timeout=3600.0) == []
    path.touch()
    assert found() == []
    async with open_sqlite_store(path) as opened:
        assert found() == []
        sleepers = [a_sleeper(str(number), gathering=f"g{number}") for number in range(3)]
        await opened.write_sleep(asleep=sleepers, awake=[])
        # Also while a server has the file.
        assert found() == ["OK    sleep        3 gatherings sleep, and have room"]
    before = path.read_bytes()
    hook = tmp_path / "hook"
    hook.touch(0o600)
    hook.write_text(SECRET)
    posts: dict[str, Any] = {
        "webhook": "https://example.com/hook",
        "webhook_secret_file": str(hook),
    }
    for changes, says in (
        ({"max_gatherings": 3}, "FAIL  sleep        3 gatherings sleep, and --max-gatherings is 3"),
        ({"max_memory": 1600}, "FAIL  sleep        3 gatherings sleep, and take 1.5 KiB of 1.6"),
        ({**posts, "max_events": 3}, "FAIL  sleep        3 gatherings sleep, for whose lifecycle"),
        ({"now": -1000.0}, "WARN  sleep        one that sleeps was used 16m47s after now"),
    ):
        [line] = found(**changes)
        assert line.startswith(says)
    assert found(max_gatherings=4, max_memory=2000, max_events=3) == found(**posts, max_events=4)
    assert path.read_bytes() == before
    assert set(os.listdir(tmp_path)) <= {path.name, f"{path.name}-lock", "hook"}
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE sleepers SET state = x'00' WHERE incarnation = '1'")
    [broken, rest] = found()
    assert broken.startswith("FAIL  sleep        of 1 gatherings that sleep")
    assert rest.startswith("OK    sleep        2 gatherings sleep")
    path.write_bytes(b"nonsense" * 1000)
    [unreadable] = found()
    assert unreadable.startswith(f"FAIL  sleep        {path} can't be read: ")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may chown")
def test_a_store_of_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    path.touch(0o600)
    os.chown(path, 4711, -1)
    [store, _] = check_store_files(f"sqlite:///{path}", "")
    assert (store.level, "uid 4711" in store.says) == (Level.WARN, True)


def test_the_tokens_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    assert [*check_token_file(str(path))] == []
    path.touch(0o600)
    assert [one.level for one in check_token_file(str(path))] == [Level.OK]
    path.chmod(0o604)
    assert [one.level for one in check_token_file(str(path))] == [Level.WARN, Level.OK]


@pytest.mark.parametrize(
    ("connections", "handshakes", "files", "level"),
    [
        (1000, 100, 1228, "ok"),
        (1000, 100, 1227, "warn"),
        (None, None, 1_000_000, "warn"),
        (10, 10, 1000, "fail"),
        (100_000, 4000, None, "ok"),
    ],
)
def test_open_files(
    connections: int | None, handshakes: int | None, files: int | None, level: str
) -> None:
    asked = {"max_connections": connections, "max_handshakes": handshakes}
    assert check_open_files(asked, files).level == level


@pytest.mark.parametrize(
    ("budget", "level"), [(None, "warn"), (500, "ok"), (801, "warn"), (1001, "fail")]
)
def test_memory(budget: int | None, level: str) -> None:
    setup, _ = read_setup(options(max_memory=budget), None)
    assert setup is not None
    assert check_memory(setup, 1000).level == level


def test_clocks() -> None:
    assert check_clock(lambda: 0.0, lambda: 0).level is Level.FAIL
    assert check_clock(kernel=lambda: 5).level is Level.WARN
    assert check_clock(kernel=lambda: 0).level is Level.OK
    assert "can't be told" in check_clock(kernel=lambda: None).says
    assert check_clock().check == "clock"


def test_libraries() -> None:
    needs = ["trio>=0.1", "attrs>=9999", "none-such>=1.2", "else>=1; extra == 'jwt'", "x!"]
    wrong = [*wrong_libraries(needs, set())]
    assert [(name, least) for name, least, _ in wrong] == [("attrs", "9999"), ("none-such", "1.2")]
    assert wrong[1][2] is None
    assert len([*wrong_libraries(needs, {"jwt"})]) == 3


def test_certificates(tmp_path: Path) -> None:
    made = trustme.CA().issue_cert("localhost")
    path = tmp_path / "cert.pem"
    made.private_key_and_cert_chain_pem.write_to_path(str(path))
    asked = options(tls_cert=str(path))
    assert read_setup(asked, None)[1][0].level is Level.OK

    def level(now: datetime | None = None) -> Level:
        [finding] = check_certificate(asked, now)
        return finding.level

    from cryptography.x509 import load_pem_x509_certificate

    certificate = load_pem_x509_certificate(made.cert_chain_pems[0].bytes())
    ends, begins = certificate.not_valid_after_utc, certificate.not_valid_before_utc
    assert level(ends - timedelta(days=22)) is Level.OK
    assert level(ends - timedelta(days=20)) is Level.WARN
    assert level(ends) is Level.FAIL
    assert level(begins - timedelta(seconds=1)) is Level.FAIL
    assert [*check_certificate(options(tls_cert=None), datetime.now(UTC))] == []
    other = trustme.CA().issue_cert("localhost")
    other.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    [mismatch] = read_setup(asked | {"tls_key": str(tmp_path / "key.pem")}, None)[1]
    assert (mismatch.level, "can't use the certificate" in mismatch.says) == (Level.FAIL, True)


def test_settings_that_let_everybody_in() -> None:
    _, findings = read_setup(options(host="0.0.0.0", insecure=True), None)
    assert levels(findings) == {"settings": "ok", "keys": "warn"}
    setup, findings = read_setup(options(host="0.0.0.0"), None)
    assert (setup, levels(findings)) == (None, {"settings": "fail"})
    setup, findings = read_setup(options(store="mysql://u:hunter2@h"), None)
    assert (setup, "hunter2" in findings[0].line) == (None, False)


async def test_ports() -> None:
    assert (await check_port("port", "127.0.0.1", 0, "ws")).level is Level.OK
    assert (await check_port("port", "192.0.2.1", 9, "ws")).level is Level.FAIL
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, trio.abc.Stream.aclose, [listener])
        taken = await check_port("port", "127.0.0.1", port, "ws")
        assert (taken.level, "another program" in taken.says) == (Level.FAIL, True)
        nursery.cancel_scope.cancel()
    assert (await check_port("port", "127.0.0.1", port, "ws")).says.endswith("is free")


@pytest.mark.parametrize(
    "raised",
    [ConnectionClosedError(None, None), PayloadTooBig(2, 1), EOFError(), ConnectionResetError()],
    ids=lambda error: type(error).__name__,
)
def test_what_does_not_open(raised: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    # Which of them it is depends on how far a server is that closes at once.
    def connect(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr("websockets.sync.client.connect", connect)
    with pytest.raises(CannotOpen, match=r"\w+"), open_socket("ws://127.0.0.1:9"):
        pass


@asynccontextmanager
async def relay(target: int, *, closes_after: float | None = None) -> AsyncIterator[int]:
    """Pass bytes on, as a proxy that says nothing of its clients; give its port."""

    async def copy(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        try:
            async for data in source:
                await sink.send_all(data)
            await sink.send_eof()
        except trio.BrokenResourceError:
            pass

    async def handle(client: trio.SocketStream) -> None:
        server = await trio.open_tcp_stream("127.0.0.1", target)
        async with server, trio.open_nursery() as both:
            both.start_soon(copy, client, server)
            both.start_soon(copy, server, client)

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def a_server(folder: Path, **settings: Any) -> AsyncIterator[tuple[int, Any, Any]]:
    """Serve a hall and its admin port; give the port, what asks, and the hall."""
    async with an_admin_port(folder) as port, trio.open_nursery() as nursery:
        asked = partial(serve, port.hall, host="127.0.0.1", port=0)
        server = await nursery.start(partial(asked, settings=ServerSettings(**settings)))
        url = f"http://127.0.0.1:{port.admin.addresses[0][1]}"
        async with open_port(PortOptions(url, str(folder / "token"))) as asking:
            yield server.addresses[0][1], asking, port.hall
        nursery.cancel_scope.cancel()


def a_way(port: int, **changes: Any) -> Way:
    values = {"url": f"ws://127.0.0.1:{port}", "token": None, "proxies": (), "idle": 0.0}
    return Way(**values | changes)


@pytest.mark.skipif(not os.path.exists("/proc"), reason="only Linux has many addresses of its own")
async def test_through_a_proxy_that_hides_its_clients(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with a_server(tmp_path) as (port, asking, hall), relay(port) as hidden:
            assert levels(await check_running(asking)) == {
                "server": "ok",
                "time": "ok",
                "ready": "ok",
            }
            straight = levels(await check_through(a_way(port, idle=0.01), asking))
            checks = ("upgrade", "origin", "join", "address", "idle")
            assert straight == dict.fromkeys(checks, "ok")
            assert levels(await check_through(a_way(hidden), asking))["address"] == "fail"
            assert len(hall.gatherings()) == 0
            assert "address" not in levels(await check_through(a_way(hidden), None))


async def test_through_to_a_server_that_lets_no_page_in_or_is_not_there(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with a_server(tmp_path, allow_origins=("https://a.example",)) as (port, asking, _):
            assert levels(await check_through(a_way(port), asking))["origin"] == "fail"
        [finding] = await check_through(a_way(port), None)
        assert (finding.check, finding.level) == ("upgrade", Level.FAIL)


def test_addresses_that_a_server_sees() -> None:
    assert address_seen("10.0.0.9", {"10.0.0.9": 1}, {"10.0.0.9": 2}).level is Level.OK
    assert address_seen("10.0.0.9", {}, {"10.0.0.9": 1}, True).level is Level.WARN
    assert address_seen("10.0.0.9", {"::1": 0}, {"10.0.0.9": 0, "::1": 1}).level is Level.FAIL
    assert address_seen("10.0.0.9", {"::1": 3}, {"10.0.0.9": 0, "::1": 3}).level is Level.WARN


def test_the_command(tmp_path: Path) -> None:
    with an_admin_server(tmp_path) as served:
        port = served.url.rpartition(":")[2]
        more = ("--through", served.url, "--", "--port", port, "--store", "memory:")
        code, out, _ = run_here("doctor", "--json", *served.options, *more)
        said = json.loads(out)
        found = {one["check"]: one for one in said["findings"]}
        assert code == 0
        assert found["port"]["says"].startswith("a squire_gatherings server listens on")
        assert found["ready"]["level"] == found["join"]["level"] == "ok"
        assert said["level"] == "warn"
    code, out, _ = run_here("doctor", *served.options, "--", "--idle-timeout", "soon")
    assert code == 1
    assert out.startswith("FAIL  settings     Invalid value for '--idle-timeout'")
    assert "\nFAIL  server       can't ask the admin port" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--idle", "5s"), "--idle goes with --through"),
        (("--through", "https://h"), "--through takes a URL such as"),
        (("--admin", "h"), "--admin takes a URL such as"),
    ],
)
def test_wrong_use(arguments: tuple[str, ...], says: str) -> None:
    code, out, err = run_here("doctor", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err


async def test_a_certificate_that_nobody_trusts_is_said_to_be_none() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with trio.fail_after(60):
        async with a_tls_server(context) as (_, _, url):
            [finding] = await check_through(Way(url, None, (), 0.0), None)
            assert "its certificate isn't good" in finding.says
            port = int(url.rpartition(":")[2])
            found = await check_port("port", "127.0.0.1", port, "wss")
            assert "a squire_gatherings server listens" in found.says
