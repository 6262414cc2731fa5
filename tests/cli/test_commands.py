"""The table of commands: each is found by its name, and nothing is loaded that isn't needed."""

import pkgutil
import subprocess
import sys
from importlib import import_module

import click
import pytest

import squire_gatherings._cli
from squire_gatherings._cli.cli import cli
from squire_gatherings._cli.commands import COMMANDS, Commands
from tests.cli.process import PATIENCE


@pytest.mark.parametrize("name", COMMANDS)
def test_each_is_found_by_its_name(name: str) -> None:
    assert Commands()[name].name == name


def test_none_is_left_out() -> None:
    """Whoever adds a command gives it a line of the table."""
    face = squire_gatherings._cli
    found = {
        one.name
        for module in pkgutil.walk_packages(face.__path__, f"{face.__name__}.")
        for one in vars(import_module(module.name)).values()
        if isinstance(one, click.Command) and one is not cli
    }
    assert found == set(Commands())


def test_the_help_of_all_has_a_whole_line_for_each() -> None:
    # A command keeps the option that its first context made.
    names = cli.context_settings["help_option_names"]
    context = click.Context(
        cli, info_name="squire-gatherings", terminal_width=80, help_option_names=names
    )
    text = cli.get_help(context)
    shown = [line.split(maxsplit=1) for line in text.partition("Commands:\n")[2].splitlines()]
    assert shown == [[name, about] for name, (_, about) in COMMANDS.items()]


def test_others_can_be_added_and_taken_away() -> None:
    commands, other = Commands(), click.Command("dance")
    before = len(commands)
    commands["dance"] = other
    assert (commands["dance"], len(commands)) == (other, before + 1)
    assert "dance" in list(commands)
    del commands["dance"]
    assert "dance" not in commands
    with pytest.raises(KeyError):
        commands["dance"]


def loaded_by(*arguments: str) -> set[str]:
    """Return the modules that a command has loaded when it ends."""
    script = (
        "import sys\n"
        "from squire_gatherings._cli.cli import cli\n"
        "try:\n"
        "    cli.main(sys.argv[1:])\n"
        "finally:\n"
        "    print(*sys.modules, file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return set(done.stderr.split())


@pytest.mark.parametrize("arguments", [["help"], ["--help"]])
def test_help_loads_nothing_of_the_library(arguments: list[str]) -> None:
    assert not {"trio", "websockets", "msgspec", "structlog", "rich"} & loaded_by(*arguments)


def test_a_client_loads_no_server() -> None:
    loaded = loaded_by("submit", "--help")
    assert "squire_gatherings.client" in loaded
    assert not {"squire_gatherings._server", "squire_gatherings._hall.hall"} & loaded


def test_a_server_loads_what_operators_ask_it_with_only_if_they_may() -> None:
    assert not {"hypercorn", "starlette", "httpx", "matplotlib"} & loaded_by("serve", "--help")
