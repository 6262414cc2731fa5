"""`watch` and `submit`, as a person and a script use them, against a real server."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
import wsproto
from wsproto.events import AcceptConnection, CloseConnection, Request, TextMessage

from squire_gatherings._cli.failures import exit_code_of
from squire_gatherings._values.errors import Replaced, Unauthorized
from tests.cli.process import PATIENCE, run_here
from tests.client.scripted import joined
from tests.forked import serving


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "squire_gatherings", *arguments]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server for tests that leave nothing to the others but gatherings of their own."""
    with serving("--store", "memory:") as (_, url):
        yield url


def test_what_is_submitted_is_watched_until_the_end() -> None:
    with serving("--store", "memory:", "--idle-timeout", "3s") as (_, url):
        assert run_here("submit", url, "room", '{"table": "é\\u009b"}') == (0, "1\n", "")
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with (
            # This command has started, and waits for its op, before the gathering's time counts.
            subprocess.Popen(command("submit", url, "room", "-", "--json"), **pipes) as second,
            subprocess.Popen(
                command("watch", url, "room", "--since", "0", "--json"),
                stdout=subprocess.PIPE,
                text=True,
            ) as watching,
        ):
            assert watching.stdout is not None
            joined = json.loads(watching.stdout.readline())
            assert (joined["type"], joined["gathering"], joined["seq"]) == ("joined", "room", 1)
            assert 0 < joined["expires_in"] <= 3
            shown, _ = second.communicate('{"n": 2}')
            assert json.loads(shown) == {"gathering": "room", "seq": 2}
            rest = [json.loads(line) for line in watching.stdout]
        assert watching.returncode == 0
        assert rest[:2] == [
            {"type": "op", "seq": 1, "by": None, "op": {"table": "é\x9b"}},
            {"type": "op", "seq": 2, "by": None, "op": {"n": 2}},
        ]
        assert (rest[2]["type"], rest[2]["reason"], rest[2]["seq"]) == ("dispersed", "idle", 2)
        assert rest[2]["idle_for"] >= 3
        # `watch` wakes a dispersed gathering, and shows its whole log.
        code, out, _ = run_here("watch", url, "room", "--since", "0", "--count", "2")
        assert code == 0
        lines = out.splitlines()
        assert lines[0].startswith("joined room at seq 2; unused, it disperses in ")
        # Other clients' text can't control the terminal.
        assert lines[1:] == ['1  -  {"table": "é\\u009b"}', '2  -  {"n": 2}']


def test_the_time_left_runs_along_on_a_terminal() -> None:
    ours, theirs = os.openpty()
    try:
        with serving("--store", "memory:", "--idle-timeout", "2s") as (_, url):
            done = subprocess.run(
                command("watch", url, "room"),
                stdout=theirs,
                stderr=theirs,
                timeout=PATIENCE,
                check=False,
            )
        assert done.returncode == 0
        shown = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "disperses in 2s" in shown or "disperses in 1s" in shown
    assert "dispersed (idle) at seq 0, unused for 2s" in shown


def test_a_repeated_submit_is_applied_once(url: str) -> None:
    same = ("submit", url, "repeated", '{"n": 1}', "--client-id", "me" * 8, "--sync-id", "s1")
    assert [run_here(*same)[1] for _ in range(2)] == ["1\n", "1\n"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("submit", "URL", "room", "[1]"), "OP is not a JSON object"),
        (("submit", "URL", "room", "{"), "OP is not JSON"),
        (("submit", "URL", "a/b", "{}"), "a gathering id is"),
        (("submit", "URL", "room", '{"n": ' + 200 * "[" + 200 * "]" + "}"), "128 deep"),
        (("submit", "URL", "room", '{"n": 18446744073709551616}'), "64 bits"),
        (("submit", "URL", "room", "{}", "--sync-id", "x"), "go together"),
        (("submit", "URL", "room", "{}", "--client-id", "x", "--sync-id", ""), "--sync-id has 1"),
        (("submit", "URL", "room", "{}", "--client-id", "x", "--sync-id", "\udcff"), "--sync-id"),
        (("submit", "http://x", "room", "{}"), "ws://HOST:PORT"),
        (("submit", "ws://\udcff:1", "room", "{}"), "the host of a server's URL"),
        (("submit", f"ws://{'a' * 80}:1", "room", "{}"), "the host of a server's URL"),
        (("watch", "ws://\u0661:1", "room"), "no name of a host"),
        (("watch", "ws://a..b", "room"), "the host of a server's URL is none"),
        (("watch", f"wss://{70 * 'a'}.org", "room"), "the host of a server's URL is none"),
        (("watch", "ws://127.0.0.1:1", "room"), "can't reach ws://127.0.0.1:1"),
        # It ends at once, as its help says: no command is waited for as long as an hour here.
        (("submit", "ws://127.0.0.1:1", "room", "{}", "--timeout", "1h"), "can't reach ws://"),
        (("watch", "URL/elsewhere", "room"), "answered 404"),
        (("watch", "URL", "room", "--since", "7"), "since is 7, but the last op is 0"),
        (("watch", "URL", "room", "--count", "0"), "--count"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments: tuple[str, ...], says: str, url: str) -> None:
    code, out, err = run_here(*(argument.replace("URL", url) for argument in arguments))
    assert (code, out) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1


def test_a_reader_that_stops_is_no_error() -> None:
    with serving("--store", "memory:") as (_, url):
        for n in range(3):
            run_here("submit", url, "room", f'{{"n": {n}}}')
        with subprocess.Popen(
            command("watch", url, "room", "--since", "0"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as watching:
            assert watching.stdout is not None
            assert watching.stderr is not None
            watching.stdout.close()
            assert watching.stderr.read() == b""
        assert watching.returncode == 1


def test_a_gathering_that_never_ends_is_watched() -> None:
    with serving("--store", "memory:", "--idle-timeout", "off") as (_, url):
        run_here("submit", url, "room", "{}")
        _, out, _ = run_here("watch", url, "room", "--since", "0", "--count", "1")
        assert out.splitlines()[0] == "joined room at seq 1; unused, it never disperses"
        code, out, err = run_here("watch", url, "room", "--since", "0", "--count", "1", "--json")
        assert '"expires_in": null' in out
        assert (code, err) == (0, "")


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("submit URL room {} > /dev/full", 2),
        ("watch URL room --since 0 > /dev/full", 2),
        ("watch URL room --since 0 --json > /dev/full", 2),
        ("submit URL room {} >&-", 0),
        ("submit URL room {} 2>&-", 0),
        ("submit URL room - <&-", 2),
        ("watch URL room --since 0 --count 1 >&-", 0),
        ("watch URL room --since 0 --count 1 2>&-", 0),
    ],
)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there's no /dev/full")
def test_output_that_cannot_be_written_is_said_in_one_line(what: str, code: int, url: str) -> None:
    assert run_here("submit", url, "written", "{}")[0] == 0
    script = f'exec "$0" -m squire_gatherings {what.replace("URL room", f"{url} written")}'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) == (1 if code else 0)


# Ends on a terminal, and other ends.


class Terminal:
    """A command with a terminal of its own: what it shows, and how it ends."""

    def __init__(self, *arguments: str) -> None:
        self.shown = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            # A shell that runs the tests in the background makes them ignore SIGINT.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.execv(sys.executable, command(*arguments))

    def read_until(self, text: str) -> None:
        while text not in self.shown:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            assert data, self.shown
            self.shown += data.decode()

    def press_ctrl_c(self) -> None:
        os.write(self.fd, b"\x03")

    def wait(self) -> int:
        """Read everything; return the exit code."""
        try:
            while data := os.read(self.fd, 65536):
                self.shown += data.decode()
        except OSError:
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_ctrl_c_ends_watch_quietly() -> None:
    with serving("--store", "memory:") as (_, url):
        for how in ((), ("--json",)):
            terminal = Terminal("watch", url, "room", *how)
            terminal.read_until("joined")
            terminal.press_ctrl_c()
            assert terminal.wait() == 130
            assert "Traceback" not in terminal.shown
            assert "Error" not in terminal.shown


def test_ctrl_c_ends_submit_quietly() -> None:
    # Nobody answers at this address, so the command waits.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        terminal = Terminal("submit", f"ws://127.0.0.1:{port}", "room", "{}")
        connection, _ = listener.accept()
        with connection:
            terminal.press_ctrl_c()
            assert terminal.wait() == 130
    assert "Traceback" not in terminal.shown


@contextmanager
def closing_with(code: int) -> Iterator[str]:
    """Serve: let each client in, then close; give the server's URL."""

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        protocol = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        with connection:
            answered = False
            while not answered:
                protocol.receive_data(connection.recv(65536))
                for event in protocol.events():
                    if isinstance(event, Request):
                        accept = AcceptConnection(subprotocol="squire.v1+json")
                        connection.sendall(protocol.send(accept))
                    if isinstance(event, TextMessage):
                        said = TextMessage(data=json.dumps(joined(gathering="room")))
                        connection.sendall(protocol.send(said))
                        connection.sendall(protocol.send(CloseConnection(code, "")))
                        answered = True
            connection.recv(65536)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)


@pytest.mark.parametrize(("code", "says"), [(4009, "took its place"), (4003, "4003")])
def test_what_ends_it_is_said_in_one_line_on_a_terminal(code: int, says: str) -> None:
    with closing_with(code) as url:
        terminal = Terminal("watch", url, "room")
        assert terminal.wait() == 2
    assert "Traceback" not in terminal.shown
    [line] = [line for line in terminal.shown.splitlines() if "error:" in line]
    assert says in line


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (BaseExceptionGroup("", [KeyboardInterrupt()]), 130),
        (BaseExceptionGroup("", [KeyError(), BaseExceptionGroup("", [KeyboardInterrupt()])]), 130),
        (click.Abort(), 130),
        (ExceptionGroup("", [ExceptionGroup("", [Replaced("gone\n by")])]), 2),
        (ExceptionGroup("", [click.UsageError("so not")]), 2),
        (ExceptionGroup("", [Replaced("gone"), Unauthorized("out")]), 2),
        (ExceptionGroup("", [Replaced("gone"), KeyError("a bug")]), None),
        (KeyError("a bug"), None),
    ],
)
def test_groups_are_unwrapped_for_people(
    error: BaseException, code: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(error) == code
    assert len(capsys.readouterr().err.splitlines()) == (1 if code == 2 else 0)


def test_a_reader_that_stops_a_terminal_program_is_no_error() -> None:
    """The error stream is a terminal, so that the time left is shown; nobody reads the ops."""
    ours, theirs = os.openpty()
    with serving("--store", "memory:") as (_, url):
        run_here("submit", url, "room", "{}")
        with subprocess.Popen(
            command("watch", url, "room", "--since", "0"), stdout=subprocess.PIPE, stderr=theirs
        ) as watching:
            os.close(theirs)
            assert watching.stdout is not None
            watching.stdout.close()
            shown = b""
            try:
                while data := os.read(ours, 65536):
                    shown += data
            except OSError:
                pass
        assert watching.returncode == 1
    os.close(ours)
    assert b"Traceback" not in shown
    assert b"Broken" not in shown


def test_the_token_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQUIRE_TOKEN", "s3cr3t")
    _, out, _ = run_here("watch", "--help")
    assert "SQUIRE_TOKEN" in out
    assert "s3cr3t" not in out
