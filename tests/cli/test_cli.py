"""The command line: help that teaches, and errors of one line."""

import socket
import sqlite3
from pathlib import Path

import pytest

from squire_gatherings._cli.commands import COMMANDS
from tests.cli.process import PATIENCE, run_here
from tests.forked import run, serving
from tests.server.raw import RawClient


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["dance"], "No such command 'dance'"),
        (["serve", "--nope"], "No such option"),
        (["serve", "--port"], "requires an argument"),
        (["serve", "--port", "65536"], "65536 is not in the range"),
        (["serve", "--idle-timeout", "90"], "'90' is not a duration such as"),
        (["serve", "--idle-timeout", "0"], "idle_timeout must be a number above 0"),
        (["serve", "--max-message-size", "1.5MiB"], "'1.5MiB' is not a size such as"),
        (["serve", "--rate-limit", "many"], "'many' is neither a number nor off"),
        (["serve", "--rate-limit", "nan"], "'nan' is neither a number nor off"),
        (["serve", "--rate-limit", "inf"], "'inf' is neither a number nor off"),
        (["serve", "--rate-limit", "0"], "rate_limit must be a number above 0"),
        (["serve", "--rate-limit", "-1"], "rate_limit must be a number above 0"),
        (["serve", "--max-connections", "0"], "max_connections must be a whole number from 1"),
        (["serve", "--max-connections", "9" * 5000], "is neither a whole number nor off"),
        (["serve", "--max-connections", "²"], "'²' is neither a whole number nor off"),
        (["serve", "--port", "9" * 5000], "'--port'"),
        (["serve", "--max-message-size", "10"], "'10' is not between 1.0 KiB and 512.0 MiB"),
        (["serve", "--max-message-size", "0"], "'0' is not between 1.0 KiB and 512.0 MiB"),
        (["serve", "--max-message-size", "1GiB"], "'1GiB' is not between 1.0 KiB and 512.0 MiB"),
        (["serve", "--ping-interval", "0"], "ping_interval must be a number above 0"),
        (["serve", "--retry-interval", "0"], "retry_interval must be a number above 0"),
        (["serve", "--retry-interval", "0.5ms"], "'0.5ms' is too short"),
        (["serve", "--retry-limit", "0"], "retry_limit must be a number above 0"),
        (["serve", "--retry-limit", "off"], "'off' is not a duration such as"),
        (["serve", "--close-grace", "99999d"], "'99999d' is too long"),
        (["serve", "--close-grace", "-1s"], "'-1s' is not a duration such as"),
        (["serve", "--empty-timeout", "inf"], "'inf' is not a duration such as"),
        (["help", "dance"], "No such command 'dance'"),
        (["serve", "--log-format", "xml"], "'xml' is not one of"),
    ],
)
def test_an_error_is_one_line(arguments: list[str], complaint: str) -> None:
    check_one_line(run_here(*arguments), complaint)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["serve", "--nope"], "No such option"),
        (
            ["serve", "--insecure", "--host", "256.1.1.1", "--store", "memory:"],
            "can't listen on 256.1.1.1",
        ),
        (["serve", "--insecure", "--host", "a" * 5000, "--store", "memory:"], "label too long"),
        (
            ["serve", "--insecure", "--host", "\u0661", "--store", "memory:"],
            "can't listen on \u0661",
        ),
        (["serve", "--insecure", "--host", "\udcff", "--store", "memory:"], "Invalid character"),
        (["serve", "--store", f"sqlite:///{'a' * 300}"], "File name too long"),
        (["serve", "--store", "sqlite:////dev/null"], "not a file in an existing directory"),
        (["serve", "--store", "sqlite:///missing/rooms.db"], "not a file in an existing directory"),
        (
            ["serve", "--store", "sqlite:///"],
            "a store is memory:, sqlite:///PATH or postgresql://HOST/DATABASE",
        ),
    ],
)
def test_an_error_of_a_start_is_one_line(
    arguments: list[str], complaint: str, tmp_path: Path
) -> None:
    check_one_line(run(*arguments, cwd=tmp_path), complaint)


def check_one_line(said: tuple[int, str, str], complaint: str) -> None:
    code, out, err = said
    assert (code, out) == (2, "")
    assert err.startswith("squire_gatherings: error: ")
    assert complaint in err
    assert err.count("\n") == 1


def test_the_environment_sets_options(tmp_path: Path) -> None:
    code, out, err = run("serve", cwd=tmp_path, SQUIRE_IDLE_TIMEOUT="soon")
    assert (code, out) == (2, "")
    assert "'--idle-timeout': 'soon' is not a duration" in err


def test_a_store_url_with_a_password_is_not_repeated(tmp_path: Path) -> None:
    code, _, err = run("serve", "--store", "redis://me:hunter2@db/1", cwd=tmp_path)
    assert code == 2
    assert "redis" in err
    assert "hunter2" not in err


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, out, err = run("serve", "--port", port, "--store", "memory:", cwd=tmp_path)
    assert (code, out) == (2, "")
    assert err == (
        f"squire_gatherings: error: can't listen on 127.0.0.1 port {port}: Address already in use\n"
    )


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "letter.txt"
    file.write_text("Dear Sir or Madam, " * 100)
    code, out, err = run("serve", "--store", f"sqlite:///{file}", cwd=tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "not a database" in err
    assert file.read_text() == "Dear Sir or Madam, " * 100


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "other.sqlite3"
    other = sqlite3.connect(file)
    other.execute("CREATE TABLE letters (text TEXT)")
    other.commit()
    other.close()
    code, out, err = run("serve", "--store", f"sqlite:///{file}", cwd=tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "another program's SQLite database" in err


def test_help_explains_the_commands(tmp_path: Path) -> None:
    code, out, err = run("serve", "--help", cwd=tmp_path)
    assert (code, err) == (0, "")
    for word in ("SQUIRE_IDLE_TIMEOUT", "24h", "500ms", "64KiB", "sqlite:///", "Examples:"):
        assert word in out


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"], ["help"]])
def test_help_says_where_to_begin(arguments: list[str]) -> None:
    code, out, err = run_here(*arguments)
    assert (code, err) == (0, "")
    assert out.startswith("Usage: squire-gatherings ")
    for word in ("serve", "watch", "submit", "load", "backup", "To begin with:", "help serve"):
        assert word in out


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_explained(command: str) -> None:
    shown = [
        run_here(*arguments)
        for arguments in ([command, "--help"], [command, "-h"], ["help", command])
    ]
    assert shown[0] == shown[1] == shown[2]
    code, out, err = shown[0]
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: squire-gatherings {command} ")


def test_the_version_is_printed(tmp_path: Path) -> None:
    code, out, err = run("--version", cwd=tmp_path)
    assert (code, err) == (0, "")
    assert out.startswith("squire-gatherings ")


def test_ipv6_stands_in_brackets() -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 on this machine")
    with serving("--store", "memory:", "--host", "::1") as (_, url):
        assert url.startswith("ws://[::1]:")


def test_times_may_have_no_end() -> None:
    options = ["--idle-timeout", "off", "--ping-interval", "off", "--log-level", "info"]
    with serving("--store", "memory:", *options) as (process, url):
        with RawClient(f"{url}/gatherings/a") as client:
            client.say(type="join")
            assert client.hear()["type"] == "joined"
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "idle_timeout=off" in err
