"""Variables of the environment: options, misspelt options, and what an orchestrator sets."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from squire_gatherings._cli.cli import cli
from squire_gatherings._cli.environment import check_environment, known_variables
from tests.cli.process import PATIENCE, READY, run_here
from tests.forked import run

LINKS = {
    "SQUIRE_SERVICE_HOST": "10.0.0.1",
    "SQUIRE_SERVICE_PORT": "8765",
    "SQUIRE_SERVICE_PORT_WEB": "8765",
    "SQUIRE_PORT": "tcp://10.0.0.1:8765",
    "SQUIRE_PORT_8765_TCP": "tcp://10.0.0.1:8765",
    "SQUIRE_PORT_8765_TCP_PROTO": "tcp",
    "SQUIRE_PORT_8765_TCP_PORT": "8765",
    "SQUIRE_PORT_8765_TCP_ADDR": "10.0.0.1",
    "SQUIRE_STORE_PORT": "udp://10.0.0.2:53",
    "SQUIRE_GATHERINGS_HTTP_SERVICE_HOST": "10.0.0.3",
    "SQUIRE_GATHERINGS_PORT": "tcp://10.0.0.3:80",
    "SQUIRE_GATHERINGS_PORT_80_TCP_ADDR": "10.0.0.3",
    # Docker sets these.
    "SQUIRE_NAME": "/web/squire",
    "SQUIRE_ENV_SQUIRE_STORE": "memory:",
    "SQUIRE_ENV_PATH": "/usr/bin",
    "SQUIRE_PORT_8000_TCP_PORT_START": "8000",
    "SQUIRE_STORE_NAME": "/web-1/squire.store",
    "SQUIRE_STORE_ENV_GOPATH": "/go",
}


def known() -> set[str]:
    context = click.Context(cli, info_name="x", **cli.context_settings)
    return set(known_variables(cli, context, "serve"))


def test_options_of_all_commands_are_known() -> None:
    some = {"SQUIRE_IDLE_TIMEOUT", "SQUIRE_PORT", "SQUIRE_TOKEN", "SQUIRE_LOAD_GATHERINGS"}
    assert some < known()
    environment = dict.fromkeys(known(), "x") | {"HOME": "/"}
    before = dict(environment)
    assert check_environment(environment, known()) == ()
    assert environment == before


def test_service_links_are_taken_out() -> None:
    environment = {**LINKS, "SQUIRE_STORE": "memory:", "squire_nonsense": "1", "PATH": "/bin"}
    assert check_environment(environment, known()) == tuple(sorted(LINKS))
    assert environment == {"SQUIRE_STORE": "memory:", "squire_nonsense": "1", "PATH": "/bin"}


@pytest.mark.parametrize(
    ("misspelt", "nearest"),
    [
        ("SQUIRE_IDLE_TIMOUT", "SQUIRE_IDLE_TIMEOUT"),
        ("SQUIRE_IDLETIMEOUT", "SQUIRE_IDLE_TIMEOUT"),
        ("SQUIRE_MAX_CONNECTION", "SQUIRE_MAX_CONNECTIONS"),
        ("SQUIRE_STORE_URL", "SQUIRE_STORE"),
        ("SQUIRE_PORTS", "SQUIRE_PORT"),
        # Nobody links it: there's no name such as /web/squire.
        ("SQUIRE_ENV_PORT", "SQUIRE_PORT"),
    ],
)
def test_a_misspelt_variable_names_the_nearest(misspelt: str, nearest: str) -> None:
    with pytest.raises(click.UsageError) as told:
        check_environment({misspelt: "hunter2"}, known())
    complaint = f"the environment has {misspelt}, which sets no option; {nearest} does"
    assert str(told.value) == complaint
    with pytest.raises(click.UsageError):
        check_environment({"SQUIRE_NAME": "friday night"}, known())


@pytest.mark.parametrize("command", [["serve"], ["watch", "ws://h:1", "a"], ["backup", "a", "b"]])
def test_a_misspelt_variable_is_an_error_of_one_line(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQUIRE_IDLE_TIMOUT", "hunter2")
    code, out, err = run_here(*command)
    assert (code, out) == (2, "")
    assert err == (
        "squire_gatherings: error: the environment has SQUIRE_IDLE_TIMOUT, which sets no option;"
        " SQUIRE_IDLE_TIMEOUT does\n"
    )


@pytest.mark.parametrize("arguments", [["serve", "--help"], ["help", "serve"], ["--version"], []])
def test_help_is_given_despite_a_misspelt_variable(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQUIRE_IDLE_TIMOUT", "x")
    assert run_here(*arguments)[0] == 0


def test_a_port_that_is_none_is_still_an_error(tmp_path: Path) -> None:
    code, _, err = run("serve", cwd=tmp_path, SQUIRE_PORT="http")
    assert (code, err.count("\n")) == (2, 1)
    assert "'--port': 'http'" in err


def test_serve_starts_beside_a_service_of_its_name() -> None:
    command = [sys.executable, "-m", "squire_gatherings", "serve", "--host", "127.0.0.1"]
    # Only this variable sets an option.
    environment = {**os.environ, **LINKS, "SQUIRE_STORE": "memory:", "SQUIRE_LOG_LEVEL": "info"}
    del environment["SQUIRE_PORT"]
    with subprocess.Popen(
        [*command, "--port", "0"],
        env=environment | {"SQUIRE_PORT": LINKS["SQUIRE_PORT"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(READY)
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 0
    assert err.count("a service link in the environment is ignored") == len(LINKS)
    assert "variable=SQUIRE_PORT\n" in err
