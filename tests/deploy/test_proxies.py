"""The configurations of reverse proxies: the real ones, in front of the real server."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from websockets.sync.client import ClientConnection, connect

from tests.deploy.tools import DEPLOY, found, run
from tests.forked import Forked, serving
from tests.server.certificates import trusting, write

CLIENT = "127.0.0.9"
"""The client's own address, which the server must see through the proxy."""

IDLE, PATIENCE = 3, 2
"""After how many seconds a gathering ends in which nothing is said, and after how many seconds the
proxy gives up a connection on which nothing goes on. (Between, only pings go on.)"""


@frozen
class Ports:
    """Who listens where."""

    server: int
    admin: int
    proxy: int


@pytest.fixture
def ports() -> Ports:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        return Ports(*(one.getsockname()[1] for one in sockets))


class Lines:
    """What a process says on standard error."""

    def __init__(self, process: subprocess.Popen[str] | Forked) -> None:
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(process,), daemon=True)
        self._thread.start()

    def _read(self, process: subprocess.Popen[str] | Forked) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            with self._news:
                self._lines.append(line)
                self._news.notify_all()

    def wait_for(self, pattern: str, times: int = 1) -> list[str]:
        """Return the first lines that have it, once there are so many."""

        def seen() -> list[str]:
            return [line for line in self._lines if re.search(pattern, line)]

        with self._news:
            enough = self._news.wait_for(lambda: len(seen()) >= times, 30)
            assert enough, (pattern, self._lines)
            return seen()[:times]

    def end(self) -> None:
        """Wait until the process has closed it."""
        self._thread.join(30)


@frozen
class Proxy:
    """A proxy that runs."""

    process: subprocess.Popen[str]
    lines: Lines
    reload: Callable[[], None] | None
    """None where that ends the connections."""


@contextmanager
def running(
    *command: str, environment: dict[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], Lines]]:
    all_of_it = os.environ | (environment or {})
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=all_of_it) as process:
        lines = Lines(process)
        try:
            yield process, lines
        finally:
            process.terminate()
            try:
                process.wait(10)
            finally:
                process.kill()
                lines.end()


def configured(path: str, changes: dict[str, str], instead: str | None = None) -> str:
    """Return a configuration of ours, for another place. Each change must concern something.

    Args:
        path: Its file, below `deploy`.
        changes: What is changed in it, into what.
        instead: Another file, whose last block comes instead of the one that begins as that does.
    """
    text = (DEPLOY / path).read_text()
    if instead is not None:
        block = (DEPLOY / instead).read_text().rpartition("\n\n")[2]
        begins = re.escape(block.partition("\n")[0])
        text, count = re.subn(rf"{begins}\n([ \t]+.*\n|}}\n)+", lambda _: block, text)
        assert count == 1
    for before, after in changes.items():
        assert before in text, before
        text = text.replace(before, after)
    return text


@contextmanager
def nginx(
    folder: Path,
    ports: Ports,
    servers: dict[str, str] | None = None,
    instead: str | None = None,
) -> Iterator[Proxy]:
    certificate, key = write(folder)
    servers = servers or {"127.0.0.1:8765": f"127.0.0.1:{ports.server}"}
    text = configured(
        "nginx/squire-gatherings.conf",
        {
            "listen 443 ssl;": f"listen 127.0.0.1:{ports.proxy} ssl;",
            "listen [::]:443 ssl;": "",
            "/etc/ssl/rooms.example/fullchain.pem": str(certificate),
            "/etc/ssl/rooms.example/key.pem": str(key),
            **servers,
            "proxy_read_timeout 90s": f"proxy_read_timeout {PATIENCE}s",
            "proxy_send_timeout 90s": f"proxy_send_timeout {PATIENCE}s",
        },
        instead,
    )
    (folder / "squire.conf").write_text(text)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    whole = folder / "nginx.conf"
    whole.write_text(
        f"""
        daemon off;
        pid {folder}/nginx.pid;
        error_log stderr notice;
        worker_processes 1;
        events {{ worker_connections 256; }}
        http {{ access_log off; {temporary} include {folder}/squire.conf; }}
        """
    )
    command = (found("nginx"), "-e", "stderr", "-c", str(whole))
    checked = run(*command, "-t")
    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr
    with running(*command) as (process, lines):
        lines.wait_for("start worker process ")

        def reload() -> None:
            process.send_signal(signal.SIGHUP)
            lines.wait_for("start worker process ", 2)
            lines.wait_for("gracefully shutting down")

        yield Proxy(process, lines, reload)


@contextmanager
def haproxy(
    folder: Path,
    ports: Ports,
    servers: dict[str, str] | None = None,
    instead: str | None = None,
) -> Iterator[Proxy]:
    certificate, key = write(folder)
    servers = servers or {"127.0.0.1:8765": f"127.0.0.1:{ports.server}"}
    (folder / "all.pem").write_bytes(certificate.read_bytes() + key.read_bytes())
    text = configured(
        "haproxy/haproxy.cfg",
        {
            "bind :443 ssl": f"bind 127.0.0.1:{ports.proxy} ssl",
            "/etc/ssl/rooms.example/all.pem": str(folder / "all.pem"),
            "check port 8766": f"check port {ports.admin}",
            "timeout tunnel          90s": f"timeout tunnel {PATIENCE}s",
            "maxconn 50000": "maxconn 100",
            **servers,
        },
        instead,
    )
    file = folder / "haproxy.cfg"
    file.write_text(text)
    program = found("haproxy")
    checked = run(program, "-c", "-f", file)
    assert (checked.returncode, checked.stderr) == (0, "")
    with running(program, "-W", "-f", str(file)) as (process, lines):
        lines.wait_for("Loading success")

        def reload() -> None:
            process.send_signal(signal.SIGUSR2)
            lines.wait_for("Loading success", 2)
            lines.wait_for("Proxy rooms stopped")

        yield Proxy(process, lines, reload)


@contextmanager
def caddy(folder: Path, ports: Ports) -> Iterator[Proxy]:
    certificate, key = write(folder)
    place = f"https://127.0.0.1:{ports.proxy} {{\n\ttls {certificate} {key}"
    text = configured(
        "caddy/Caddyfile",
        {"rooms.example {": place, "127.0.0.1:8765": f"127.0.0.1:{ports.server}"},
    )
    program, file = found("caddy"), folder / "Caddyfile"
    formatted = run(program, "fmt", DEPLOY / "caddy" / "Caddyfile")
    assert formatted.stdout == (DEPLOY / "caddy" / "Caddyfile").read_text()
    own = "admin off", "default_bind 127.0.0.1", "auto_https disable_redirects"
    options = "\n".join((*own, f"storage file_system {folder}"))
    file.write_text(f"{{\n{options}\n}}\n{text}")
    checked = run(program, "validate", "--adapter", "caddyfile", "--config", file)
    assert checked.returncode == 0, checked.stderr
    command = (program, "run", "--adapter", "caddyfile", "--config", str(file))
    # It keeps its configuration in the home folder.
    with running(*command, environment={"XDG_CONFIG_HOME": str(folder)}) as (process, lines):
        lines.wait_for("serving initial configuration")
        yield Proxy(process, lines, None)


def say(client: ClientConnection, **message: Any) -> dict[str, Any]:
    client.send(json.dumps(message))
    return hear(client)


def hear(client: ClientConnection) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(client.recv(timeout=120))
    return answer


@pytest.mark.parametrize(
    ("proxy", "says"),
    [(nginx, "x-forwarded-for"), (haproxy, "proxy-protocol"), (caddy, "x-forwarded-for")],
)
def test_clients_live_behind_it(
    proxy: Callable[[Path, Ports], Any], says: str, tmp_path: Path, ports: Ports
) -> None:
    def client(gathering: str) -> ClientConnection:
        return connect(
            f"wss://127.0.0.1:{ports.proxy}/gatherings/{gathering}",
            ssl=trusting(),
            source_address=(CLIENT, 0),
            additional_headers={"X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.2"},
            proxy=None,
        )

    options: tuple[str, ...] = ("--store", "memory:", "--proxy", "127.0.0.1", "--proxy-says", says)
    options += ("--ping-interval", "100ms", "--idle-timeout", f"{IDLE}s", "--log-level", "info")
    options += ("--log-format", "json", "--admin-token-file", str(tmp_path / "token"))
    found(proxy.__name__)
    with (
        serving(*options, "--port", str(ports.server), "--admin-port", str(ports.admin)) as (
            process,
            _,
        ),
        proxy(tmp_path, ports) as front,
        client("idle") as idle,
    ):
        lines = Lines(process)
        assert say(idle, type="join")["type"] == "joined"
        synced = say(idle, type="sync", id="a", base=0, ops=[{"n": 1}])
        assert (synced["type"], synced["seqs"]) == ("synced", [1])
        # Nothing is said any more. Pings alone keep the connection alive, until the end comes.
        notice = hear(idle)
        assert (notice["type"], notice["reason"], notice["seq"]) == ("dispersed", "idle", 1)
        assert notice["idle_for"] >= IDLE > PATIENCE
        with pytest.raises(Exception, match="4001"):
            idle.recv(timeout=120)
        [line] = lines.wait_for('"code": *4001')
        assert json.loads(line)["peer"] == CLIENT

        # Who is there stays through a reload of the proxy, and others come.
        with client("other") as old:
            assert say(old, type="join")["type"] == "joined"
            if front.reload is not None:
                front.reload()
            assert say(old, type="sync", id="a", base=0, ops=[{"n": 1}])["type"] == "synced"
            with client("other") as new:
                assert say(new, type="join")["seq"] == 1
            # What isn't a gathering isn't passed on.
            with socket.create_connection(("127.0.0.1", ports.proxy)) as plain:
                context: ssl.SSLContext = trusting()
                with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
                    secure.sendall(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                    assert secure.recv(100).startswith(b"HTTP/1.1 404 ")
            process.send_signal(signal.SIGTERM)
            assert hear(old)["reason"] == "shutdown"
            with pytest.raises(Exception, match="1001"):
                old.recv(timeout=120)
        assert process.wait(timeout=120) == 0
