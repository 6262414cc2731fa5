"""The systemd units: systemd finds nothing wrong with them, and the server takes what they give."""

import re
import shlex
from configparser import RawConfigParser
from pathlib import Path

import click
import pytest

from squire_gatherings._cli.serve import serve
from tests.deploy.tools import DEPLOY, found, run

UNITS = DEPLOY / "systemd"
PROGRAM = "/opt/squire-gatherings/bin/squire-gatherings"
NAMES = ("squire-gatherings.service", "squire-gatherings.socket")


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The units, with a program that there is here."""
    for name in NAMES:
        text = (UNITS / name).read_text()
        (tmp_path / name).write_text(text.replace(PROGRAM, "/bin/true"))
    return [tmp_path / name for name in NAMES]


def test_systemd_finds_nothing_wrong(units: list[Path]) -> None:
    done = run(found("systemd-analyze"), "verify", "--man=no", *units)
    assert (done.returncode, done.stderr) == (0, "")


def test_little_is_exposed(units: list[Path]) -> None:
    """Of 10; what is left is mostly that it has a network."""
    done = run(found("systemd-analyze"), "security", "--offline=yes", "--threshold=15", units[0])
    assert done.returncode == 0, done.stdout


def test_the_user_can_be_made() -> None:
    done = run(found("systemd-sysusers"), "--dry-run", UNITS / "squire-gatherings.sysusers.conf")
    assert done.returncode == 0, done.stderr


def test_the_command_is_one(tmp_path: Path) -> None:
    text = (UNITS / NAMES[0]).read_text().replace("\\\n", " ")
    parser = RawConfigParser(strict=False, allow_no_value=True)
    # Only keys that may be there once are looked at.
    parser.read_string(text)
    (tmp_path / "squire.toml").write_text("")
    command = parser["Service"]["ExecStart"]
    command = command.replace("/etc/squire-gatherings", str(tmp_path)).replace("%d", str(tmp_path))
    program, name, *arguments = shlex.split(command.replace("%S", str(tmp_path)))
    assert (program, name) == (PROGRAM, "serve")
    context = serve.make_context("serve", arguments)
    assert isinstance(context, click.Context)
    assert context.params["store"] == f"sqlite:///{tmp_path}/squire-gatherings/rooms.sqlite3"
    # What the credential is called is what the server is told.
    [credential] = re.findall(r"^LoadCredential=([^:]+):", text, re.MULTILINE)
    assert context.params["admin_token_file"] == f"{tmp_path}/{credential}"
    # An end in order has the time that it takes; SIGHUP reloads.
    stop = parser["Service"]["TimeoutStopSec"]
    assert float(stop.removesuffix("s")) > 2 * (context.params["close_grace"] + 1)
    assert parser["Service"]["ExecReload"] == "/bin/kill -HUP $MAINPID"
