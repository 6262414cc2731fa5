"""The configuration file: the same options as on the command line, and nothing else."""

import math
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest

from squire_gatherings import BadSetting, HallSettings, ServerSettings
from squire_gatherings._cli.configuration import LARGEST, read_again, settings_of
from squire_gatherings._cli.example import example_of
from squire_gatherings._cli.serve import serve
from squire_gatherings._cli.setup import make_setup
from tests.forked import run


def options_of(*arguments: str) -> dict[str, Any]:
    return serve.make_context("serve", list(arguments)).params


def written(folder: Path, text: str | bytes) -> str:
    path = folder / "squire.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_each_kind_of_value(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        host = "::1"                # text
        port = 0                    # a number
        idle-timeout = "1h30m"
        empty-timeout = "off"
        max-connections = 12
        max-gatherings = "off"
        rate-limit = 2.5
        max-message-size = 65536
        max-memory = "25%"
        insecure = true
        proxy = ["10.0.0.0/8", "::1"]
        proxy-says = "forwarded"
        """,
    )
    found = options_of("--config", path)
    assert found["config"] == path
    assert (found["host"], found["port"], found["insecure"]) == ("::1", 0, True)
    assert (found["idle_timeout"], found["empty_timeout"]) == (5400, None)
    assert (found["max_connections"], found["max_gatherings"]) == (12, None)
    assert (found["rate_limit"], found["max_message_size"]) == (2.5, 65536)
    assert (found["max_memory"], found["proxies"]) == (0.25, ("10.0.0.0/8", "::1"))
    assert make_setup(found, None).server.proxies.named("10.1.2.3")


def test_the_command_line_comes_first_then_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, 'idle-timeout = "1s"\nempty-timeout = "2s"\nclose-grace = "3s"')
    monkeypatch.setenv("SQUIRE_IDLE_TIMEOUT", "10s")
    monkeypatch.setenv("SQUIRE_EMPTY_TIMEOUT", "20s")
    monkeypatch.setenv("SQUIRE_CONFIG", path)
    found = options_of("--idle-timeout", "100s")
    names = ("idle_timeout", "empty_timeout", "close_grace", "retry_limit")
    assert [found[name] for name in names] == [100, 20, 3, 10]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("idle-timeut = '1h'", "line 1: 'idle-timeut' is no option; 'idle-timeout' is one"),
        ("idle_timeout = '1h'", "line 1: 'idle_timeout' is no option; 'idle-timeout' is one"),
        ("\n\n[serve]\nport = 1", "line 3: 'serve' is no option"),
        ("config = 'x'", "line 1: 'config' is no option"),
        ("print-config = true", "line 1: 'print-config' is no option"),
        ('"\\u001b[31m" = 1', "'\\x1b[31m' is no option"),
        ("port = 1\nidle-timeout = 90", "line 2: 'idle-timeout': '90' is not a duration such as"),
        ("idle-timeout = true", "'idle-timeout' takes a duration or off"),
        ("idle-timeout = ['1h']", "'idle-timeout' takes a duration or off"),
        ("idle-timeout = 2026-11-28", "'idle-timeout' takes a duration or off"),
        ("port = '8765'", "'port' takes a whole number, without quotes"),
        ("port = 8765.0", "'port' takes a whole number, without quotes"),
        ("port = true", "'port' takes a whole number, without quotes"),
        ("port = 65536", "'port': 65536 is not in the range"),
        ("port.of = 1", "line 1: 'port' takes a whole number"),
        (f"max-connections = 0x{'f' * 9000}", "'max-connections' is too large a number"),
        (f"port = 0x{'f' * 9000}", "'port' is too large a number"),
        (f"port = {'9' * 5000}", "not TOML: Exceeds the limit"),
        ("max-connections = -1", "'-1' is neither a whole number nor off"),
        ("rate-limit = nan", "'nan' is neither a number nor off"),
        ("host = 1", "'host' takes a text, in quotes"),
        ("log-level = 'loud'", "'log-level': 'loud' is not one of"),
        ("log-level = 1", "'log-level' takes a text, in quotes"),
        ("insecure = 1", "'insecure' takes true or false"),
        ("proxy = '10.0.0.1'", "'proxy' takes a list, such as"),
        ("proxy = [1]", "'proxy' takes a list of texts, each in quotes"),
        ("proxy = {a = 1}", "'proxy' takes a list, such as"),
        ("port = 1\nport = 2", "not TOML: Cannot overwrite a value"),
        ("port", "not TOML: Expected '='"),
        ("port = " + "[" * 100_000, "not TOML: "),
        (b"port = 1 # \xff", "isn't UTF-8, from byte 11 on"),
        (b"\xef\xbb\xbfport = 1", "not TOML: Invalid statement (at line 1"),
        (b"#" * (LARGEST + 1), f"has more than {LARGEST} bytes"),
    ],
    ids=lambda one: repr(one[:40]),
)
def test_what_is_wrong_names_the_file_and_the_key(
    text: str | bytes, complaint: str, tmp_path: Path
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(click.UsageError) as told:
        options_of("--config", path)
    assert told.value.message.startswith(path)
    assert complaint in told.value.message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    def complaint_of(path: str) -> str:
        with pytest.raises(click.UsageError) as told:
            options_of("--config", path)
        return told.value.format_message()

    missing, pipe = str(tmp_path / "missing"), str(tmp_path / "pipe")
    os.mkfifo(pipe)
    assert complaint_of(missing) == f"{missing}: can't be read: No such file or directory"
    assert complaint_of(pipe) == f"{pipe}: can't be read: it is not a file"
    assert complaint_of("/dev/null") == "/dev/null: can't be read: it is not a file"
    assert "is a directory" in complaint_of(str(tmp_path))
    assert complaint_of("") == ": can't be read: No such file or directory"
    assert complaint_of("\x1b[31m\n") == "?[31m?: can't be read: No such file or directory"


def test_a_wrong_file_is_an_error_even_where_the_command_line_says_otherwise(
    tmp_path: Path,
) -> None:
    written(tmp_path, "idle-timeout = '90'")
    arguments = ["serve", "--config", "squire.toml", "--idle-timeout", "1h", "--store", "memory:"]
    code, out, err = run(*arguments, cwd=tmp_path)
    assert (code, out) == (2, "")
    assert err == (
        "squire_gatherings: error: squire.toml, line 1: 'idle-timeout': '90' is not a duration"
        " such as 24h, 90m, 1h30m, 2.5s or 500ms\n"
    )


def test_options_that_contradict_each_other_are_an_error(tmp_path: Path) -> None:
    path = written(tmp_path, "jwt-issuer = 'me'")
    with pytest.raises(click.UsageError, match="--jwt-issuer goes with --auth jwt"):
        make_setup(options_of("--config", path), None)


def test_check_config_looks_and_does_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, "store = 'sqlite:///rooms.sqlite3'\nport = 0")
    check = ["serve", "--config", path, "--check-config"]
    assert run(*check, cwd=tmp_path) == (0, "nothing is wrong with the options\n", "")
    assert [one.name for one in tmp_path.iterdir()] == ["squire.toml"]
    for wrong in (["--store", "redis://x"], ["--tls-cert", "none.pem"], ["--idle-timeout", "0"]):
        with pytest.raises((BadSetting, click.ClickException)):
            serve.main([*check[1:], *wrong], standalone_mode=False)


# The example.


def uncommented(example: str) -> str:
    """Return the lines that set something, where they say what the default is."""
    keys = tuple(f"# {key} = " for key in settings_of(serve))
    lines = [line for line in example.splitlines() if line.startswith(keys)]
    assert len(lines) == len(keys)
    return "\n".join(line[2:] for line in lines if not line.endswith('"..."'))


def test_the_example_sets_nothing_and_shows_every_option(tmp_path: Path) -> None:
    example = example_of(serve)
    assert tomllib.loads(example) == {}
    assert all(len(line) <= 100 for line in example.splitlines())
    path = written(tmp_path, uncommented(example))
    with_all, with_none = options_of("--config", path), options_of()
    assert len(tomllib.loads(Path(path).read_text())) > 30
    assert with_all | {"config": None} == with_none
    for setting in settings_of(serve).values():
        assert setting.help
        assert setting.key in example


def test_the_example_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    serve.main(["--print-config"], standalone_mode=False)
    assert capsys.readouterr() == (example_of(serve) + "\n", "")


def test_the_docs_name_every_option_and_what_is_reloaded() -> None:
    text = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    rows = re.findall(r"^\| (`--[^|]*)\|[^|]*\|([^|]*)\|", text, re.MULTILINE)
    told = {
        name: reloaded.strip() == "yes"
        for names, reloaded in rows
        for name in re.findall(r"`--([a-z-]+)`", names)
    }
    assert told == {key: one.reloads for key, one in settings_of(serve).items()}


def test_each_limit_that_the_docs_name_is_an_option() -> None:
    text = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    table = text[text.index("| option | default | beyond it") :]
    rows = re.findall(r"^\| ([^|]*) \|", table[: table.index("\n\n")], re.MULTILINE)[2:]
    unnamed = [row for row in rows if "`" not in row]
    assert unnamed == ["frames that say nothing"]
    named = [name for row in rows for name in re.findall(r"`([^`]*)`", row)]
    assert len(named) > 20
    assert {name.removeprefix("--") for name in named} <= settings_of(serve).keys()


def test_limits_are_set_as_they_are_given() -> None:
    more = ("--max-ops", "7", "--max-backlog", "2KiB", "--inbox-limit", "8", "--inbox-bytes", "9")
    changed, default = make_setup(options_of(*more), None), make_setup(options_of(), None)
    hall, server = changed.hall, changed.server
    assert (hall.max_ops, hall.inbox_limit, hall.inbox_bytes) == (7, 8, 9)
    assert server.max_backlog == 2048
    assert default.hall.max_ops == HallSettings().max_ops
    assert default.hall.inbox_bytes == HallSettings().inbox_bytes
    assert default.server == ServerSettings()
    with pytest.raises(BadSetting, match="max_ops must be a whole number from 1"):
        make_setup(options_of("--max-ops", "0"), None)


# Reading it again.


def test_what_is_read_again_is_what_was_given_and_what_the_file_says_now(tmp_path: Path) -> None:
    path = written(tmp_path, 'idle-timeout = "1s"\nclose-grace = "1s"')
    context = serve.make_context("serve", ["--config", path, "--close-grace", "2s"])
    assert read_again(context) == context.params
    written(tmp_path, 'idle-timeout = "off"\nclose-grace = "3s"')
    again = read_again(context)
    assert (again["idle_timeout"], again["close_grace"]) == (math.inf, 2)
    written(tmp_path, "idle-timeout = 1")
    with pytest.raises(click.UsageError, match="'1' is not a duration"):
        read_again(context)
