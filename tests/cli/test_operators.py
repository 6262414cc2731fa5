"""The commands of operators, against a real server; and what they say of one that isn't."""

import io
import json
import os
import pty
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from squire_gatherings import GatheringsError, Identity
from squire_gatherings._admin.api.shapes import HallState
from squire_gatherings._cli.operators import asking
from squire_gatherings._cli.operators.asking import CannotAsk, PortOptions, open_port
from tests.admin.port import open_port as an_admin_port
from tests.cli.admin_server import Served, an_admin_server
from tests.cli.process import PATIENCE, run_here
from tests.server.raw import RawClient
from tests.support import Recorder


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with an_admin_server(tmp_path_factory.mktemp("served"), "--max-age", "50h") as one:
        yield one


@contextmanager
def joined(served: Served, gathering_id: str) -> Iterator[RawClient]:
    with RawClient(f"{served.url}/gatherings/{gathering_id}") as client:
        client.say(type="join")
        assert client.hear()["type"] == "joined"
        yield client


def test_a_gathering_is_explained_held_extended_warned_and_ended(served: Served) -> None:
    with joined(served, "room") as client:
        code, out, _ = run_here("explain", "room", *served.options)
        assert code == 0
        first, moved, age, here = out.splitlines()
        assert first.startswith("room lives until 20")
        assert first.endswith("): rule idle, no message for 24h.")
        assert moved.startswith("Last moved ")
        assert moved.endswith(" ago by a message: join.")
        assert age.startswith("Rule max_age would end it at 20")
        assert here.startswith("1 client is connected; opened ")

        code, out, _ = run_here("hold", "room", "--for", "60h", *served.options)
        assert code == 0
        assert out.endswith("): it is held until then, and rule idle ends it.\n")
        code, out, _ = run_here("hold", "room", "--release", "--json", *served.options)
        released = json.loads(out)
        assert (released["held_until"], released["rule"]) == (None, "idle")
        assert released["moved"]["what"] == "hold"
        assert "uid" in released["moved"]["by"]

        code, out, _ = run_here("extend", "room", "5h", "--json", *served.options)
        moved_by = json.loads(out)["deadline"] - released["deadline"]
        assert moved_by == pytest.approx(5 * 3600, abs=0.01)
        until = "2100-01-01T00:00:00+01:00"
        _, out, _ = run_here("hold", "room", "--until", until, *served.options)
        assert out.startswith("room lives until 2099-12-31T23:00:00")

        assert run_here("warn", "room", *served.options)[0] == 0
        assert client.hear()["type"] == "ending"
        code, out, _ = run_here("disperse", "room", "--yes", *served.options)
        assert (code, out) == (0, "room has ended\n")
        notice = client.hear()
        assert (notice["type"], notice["reason"]) == ("dispersed", "admin")


@pytest.mark.parametrize(
    "arguments",
    [
        ("explain", "nobody-here"),
        ("hold", "nobody-here", "--for", "1h"),
        ("extend", "nobody-here", "1h"),
        ("warn", "nobody-here"),
        ("disperse", "nobody-here", "--yes"),
        ("kick", "nobody", "--yes"),
        ("kick", "nobody", "--gathering", "nobody-here", "--yes"),
    ],
)
def test_what_is_not_there_is_exit_code_1(arguments: tuple[str, ...], served: Served) -> None:
    code, out, err = run_here(*arguments, *served.options)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "nobody" in err


def test_rights_of_a_user(served: Served) -> None:
    assert run_here("role", "älice\n", "observer", "--for", "1h", *served.options)[:2] == (
        0,
        "user älice\\n is observer on 0 connections\n",
    )
    revoke = ("revoke", "alice", "--yes", "--json", *served.options)
    for until in (("--for", "24h"), ("--for", "off"), ("--until", "2100-01-01T00:00:00Z")):
        code, out, _ = run_here(*revoke, *until)
        assert (code, json.loads(out)) == (0, {"closed": 0})


async def test_a_user_is_put_out(tmp_path: Path) -> None:
    async with an_admin_port(tmp_path) as port:
        url, token = f"http://127.0.0.1:{port.admin.addresses[0][1]}", str(tmp_path / "token")
        where = ("--admin", url, "--admin-token-file", token)

        async def run(*arguments: str) -> tuple[int, str, str]:
            return await trio.to_thread.run_sync(lambda: run_here(*arguments, *where))

        async def join(room: str) -> Recorder:
            recorder = Recorder()
            await port.hall.join(room, recorder, identity=Identity("alice"))
            return recorder

        first, second = await join("a"), await join("b")
        code, out, _ = await run("role", "alice", "observer", "--gathering", "a")
        assert (code, out) == (0, "user alice is observer on 1 connection\n")
        code, out, _ = await run("kick", "alice", "--gathering", "a", "--yes")
        assert (code, out) == (0, "closed 1 connection of user alice\n")
        assert (len(first.closed), len(second.closed)) == (1, 0)
        code, out, _ = await run("revoke", "alice", "--for", "24h", "--yes")
        assert (code, out) == (0, "user alice has no rights any more; closed 1 connection\n")
        assert len(second.closed) == 1
        with pytest.raises(GatheringsError):
            await join("a")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("arguments", "question"),
    [
        (("disperse", "asked"), "End asked, for all who are in it?"),
        (("kick", "ann\x1b"), "Put user ann\\u001b out of all gatherings?"),
        (("kick", "ann", "--gathering", "asked"), "Put user ann out of asked?"),
        (("revoke", "ann", "--for", "1h"), "Take all rights of user ann?"),
    ],
)
def test_what_cannot_be_taken_back_is_asked_for(
    arguments: tuple[str, ...],
    question: str,
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    with joined(served, "asked"):
        code, _, err = run_here(*arguments, *served.options)
        assert (code, question in err) == (130, True)
        assert run_here("explain", "asked", *served.options)[0] == 0


def test_other_commands_do_not_need_what_these_need() -> None:
    """Not even for `serve` without an admin port: the extra may be missing."""
    # Not rich: structlog imports it where it is installed.
    extra = {"httpx", "starlette", "hypercorn", "cryptography", "prometheus_client"}
    code = (
        "import sys; from squire_gatherings._cli.commands import Commands;"
        "dict(Commands()); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert extra & set(done.stdout.split()) == set()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("hold", "a"), "give one of --until, --for and --release"),
        (("hold", "a", "--for", "1h", "--release"), "give one of"),
        (("hold", "a", "--for", "0"), "--for must be above 0"),
        (("hold", "a", "--until", "2001-01-01"), "--until is past"),
        (("hold", "a", "--until", "42"), "is no time such as"),
        (("hold", "a", "--until", "9" * 18), "is no time such as"),
        (("hold", "a", "--until", "10000-01-01"), "'10000-01-01' is no time such as"),
        (("hold", "..", "--for", "1h"), "a gathering id is"),
        (("explain", "a/b"), "a gathering id is"),
        (("extend", "a", "5"), "is not a duration"),
        (("extend", "a", "0"), "DURATION must be above 0"),
        (("disperse", "a"), "nobody is there to be asked: add --yes"),
        (("kick", "a"), "nobody is there to be asked: add --yes"),
        (("kick", "a", "--gathering", "/", "--yes"), "a gathering id is"),
        (("kick", "", "--yes"), "it has 1 to 1024 characters"),
        (("kick", "\udcff", "--yes"), "it isn't UTF-8"),
        (("revoke", "a"), "give either --until or --for"),
        (("revoke", "a", "--for", "0", "--yes"), "--for must be above 0"),
        (("role", "a", "b" * 65), "it has 1 to 64 characters"),
        (("role", "a", "b", "--for", "1h", "--until", "2100-01-01"), "not both"),
        (("top", "--every", "0"), "--every must be at least"),
        (("explain", "a", "--admin", "ftp://h"), "--admin takes a URL such as"),
        (("explain", "a", "--admin", "http://h:x"), "--admin takes a URL such as"),
        (("explain", "a", "--admin", "http://h/?token=x"), "--admin takes a URL such as"),
        (("explain", "a", "--admin", "http://u:hunter2@h"), "the token is in --admin-token-file"),
        (("explain", "a", "--admin-token-file", "/none/x"), "can't read the operators' token"),
        (("explain", "a", "--admin-token-file", "/dev/null"), "has no token: that is one word"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    code, out, err = run_here(*arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    assert "hunter2" not in err


def test_a_wrong_token_and_another_version(served: Served, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("x" * 43)
    asked = ("explain", "a", "--admin", served.admin, "--admin-token-file", str(wrong))
    code, _, err = run_here(*asked)
    assert (code, err.count("\n")) == (2, 1)
    assert f"doesn't know the token in {wrong}" in err
    assert "x" * 43 not in err
    under = (served.admin + "/old", "--admin-token-file", served.token_file)
    code, _, err = run_here("explain", "a", "--admin", *under)
    assert (code, "is it an older version" in err) == (2, True)


def answers(text: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(text)

    return answer


@contextmanager
def somebody(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Listen as somebody who isn't ours, and answer one request."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            try:
                connection, _ = listener.accept()
                with connection:
                    answer(connection)
            except OSError:
                return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "can't ask the admin port at http"),
        (b"", "can't ask the admin port at http"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone", "HTTP 404"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://h/\r\nContent-Length: 0\r\n\r\n", "HTTP 302"),
        (OK + b'Content-Length: 13\r\n\r\n{"id": "else"}', "not as an admin port"),
        (OK + b"Content-Length: 9\r\n\r\n[[[[[[[[[", "not as an admin port"),
        (OK + b"Content-Length: 1000\r\n\r\n{", "can't ask the admin port"),
        (OK + b"\r\n" + b" " * 2000, "has more than 1000 bytes"),
        (
            b"HTTP/1.1 400 Bad\r\nContent-Length: 53\r\n\r\n"
            b'{"title":"\\u001b[2J","code":"x","detail":"\\u001b[2J"}',
            "error: [2J",
        ),
    ],
)
def test_others_than_our_server(
    text: bytes, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "LARGEST", 1000)
    (tmp_path / "token").write_text("t" * 43)
    with somebody(answers(text)) as url:
        where = ("--admin", url, "--admin-token-file", str(tmp_path / "token"))
        code, out, err = run_here("explain", "a", *where)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    assert "\x1b" not in err


async def test_one_that_does_not_answer_is_waited_for_so_long(
    autojump_clock: Any, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("t" * 43)
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        began = trio.current_time()
        async with open_port(PortOptions(url, str(tmp_path / "token"))) as port:
            with pytest.raises(CannotAsk, match="doesn't answer within 10 seconds"):
                await port.get("/api/v1/hall", HallState)
        assert trio.current_time() - began == 10


def test_nobody_listens(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t" * 43)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    where = ("--admin", f"http://127.0.0.1:{port}", "--admin-token-file", str(tmp_path / "token"))
    for name in ("explain", "top"):
        arguments = (name, "a") if name == "explain" else (name,)
        code, _, err = run_here(*arguments, *where)
        assert (code, err.count("\n")) == (2, 1)
        assert f"can't ask the admin port at http://127.0.0.1:{port}" in err


def test_top_prints_one_table_where_there_is_no_terminal(served: Served) -> None:
    with joined(served, "shown"):
        code, out, _ = run_here("top", *served.options)
        assert code == 0
        assert out.startswith("squire_gatherings ")
        assert "\nshown " in out
        assert "\x1b" not in out
        code, out, _ = run_here("top", "--json", "--sort", "clients", *served.options)
        said = json.loads(out)
        assert said["gatherings"]["gatherings"][0]["clients"] == 1
        assert said["hall"]["clients"] == 1
        assert "endings" in said["endings"]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_top_on_a_terminal_takes_keys_and_leaves_it_as_it_was(served: Served) -> None:
    ours, theirs = pty.openpty()
    program = [sys.executable, "-m", "squire_gatherings", "top", *served.options]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    import termios

    before = termios.tcgetattr(theirs)
    with subprocess.Popen(program, stdin=theirs, stdout=theirs, env=environment) as process:
        try:
            until(ours, b"deadline c clients")
            assert termios.tcgetattr(theirs)[3] != before[3]
            os.write(ours, b"c")
            until(ours, "clients▼".encode())
            os.write(ours, b"q")
            # It leaves the other screen.
            until(ours, b"\x1b[?1049l")
            assert process.wait(20) == 0
        finally:
            process.kill()
    assert termios.tcgetattr(theirs) == before
    os.close(theirs)
    os.close(ours)


def until(terminal: int, text: bytes) -> None:
    seen = b""
    while text not in seen:
        assert select.select([terminal], [], [], 60)[0], seen
        seen += os.read(terminal, 65536)
