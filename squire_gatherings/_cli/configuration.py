"""The configuration file: TOML whose keys are the names of a command's options.

What it says counts where neither the command line nor the environment says something else.
"""

import os
import re
import stat
import tomllib
from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import Any

import click

from squire_gatherings._cli.options import FILE, Parsed, Setting, option

LARGEST = 1024**2
"""How many bytes a file may have."""

MOST_DIGITS = 300
"""How long a number may be: Python has the limit, too, where it makes text of one."""

ARGUMENTS = f"{__name__}.arguments"

Value = str | int | float | bool | list[str]


class ConfiguredCommand(click.Command):
    """A command that `--config` belongs to. What it was given can be read a second time."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As in `click.Command`."""
        ctx.meta[ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)


def read_again(context: click.Context) -> dict[str, Any]:
    """Read the file again, and what a command was given; return the values of its options.

    Raises:
        click.ClickException: Something is wrong with the file.
    """
    command, arguments = context.command, context.meta[ARGUMENTS]
    again = command.make_context(context.info_name, list(arguments), parent=context.parent)
    with again:
        return again.params


def settings_of(command: click.Command) -> dict[str, Setting]:
    """Return the options of a command that may stand in its file, by key."""
    found = (one for one in command.params if isinstance(one, Setting) and one.in_file)
    return {one.key: one for one in found}


def _use(context: click.Context, _: click.Parameter, path: str | None) -> str | None:
    if path is not None:
        context.default_map = read_file(path, context)
    return path


config_option = option(
    "--config",
    type=FILE,
    metavar="FILE",
    is_eager=True,
    in_file=False,
    callback=_use,
    help='TOML file with options: idle-timeout = "24h". Read again on SIGHUP.',
)
"""Gives a `ConfiguredCommand` its file."""


def read_file(path: str, context: click.Context) -> dict[str, Value]:
    """Return what a file says, by the names of parameters.

    Raises:
        click.UsageError: It can't be read, isn't TOML, has a key that is no option, or a value that
            this option can't have.
    """
    shown = printable_path(path)
    text = _read(path, shown)
    try:
        found = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{shown}: not TOML: {error}") from None
    settings = settings_of(context.command)
    values: dict[str, Value] = {}
    for key, value in found.items():
        where = f"{shown}, {_line_of(key, text)}{key[:80]!r}"
        if key not in settings:
            raise click.UsageError(f"{where} is no option; {nearest(key, settings)!r} is one")
        setting = settings[key]
        assert setting.name is not None
        try:
            values[setting.name] = _value(setting, value)
            setting.type_cast_value(context, values[setting.name])
        except click.BadParameter as error:
            raise click.UsageError(f"{where}: {error.message}") from None
        except ValueError as error:
            raise click.UsageError(f"{where} {error}") from None
    return values


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that is most like one that isn't."""
    return max(known, key=lambda one: (SequenceMatcher(None, name, one).ratio(), one))


def printable_path(path: str) -> str:
    """Return a path as it may stand in a message of one line."""
    return "".join(one if one.isprintable() else "?" for one in path[:500])


def _read(path: str, shown: str) -> str:
    try:
        # A pipe that nobody writes to would be waited for.
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError("it is not a file")
            data = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise click.UsageError(f"{shown}: can't be read: {reason}") from None
    if len(data) > LARGEST:
        raise click.UsageError(f"{shown}: has more than {LARGEST} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{shown}: isn't UTF-8, from byte {error.start} on") from None


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _line_of(key: str, text: str) -> str:
    """Return where a key stands, as far as it is plain."""
    begins = re.compile(rf"\s*[\[\"']*{re.escape(key)}[\"'\]]*\s*([=.]|$)")
    for number, line in enumerate(text.splitlines(), start=1):
        if begins.match(line):
            return f"line {number}: "
    return ""


def _value(setting: Setting, value: object) -> Value:
    """Return a value of TOML as `click` is given it. Raises `ValueError` for a wrong type."""
    if setting.multiple:
        if not isinstance(value, list):
            raise ValueError('takes a list, such as ["..."]')
        if not all(isinstance(one, str) for one in value):
            raise ValueError("takes a list of texts, each in quotes")
        return value
    if setting.is_flag:
        if not isinstance(value, bool):
            raise ValueError("takes true or false")
        return value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(setting.type, click.types.IntParamType):
        if not is_number or isinstance(value, float):
            raise ValueError("takes a whole number, without quotes")
    elif isinstance(setting.type, Parsed):
        if not (is_number or isinstance(value, str)):
            raise ValueError(f"takes a {setting.type.name.replace('|', ' or ')}")
    elif not isinstance(value, str):
        raise ValueError("takes a text, in quotes")
    if isinstance(value, int) and value.bit_length() > MOST_DIGITS:
        raise ValueError("is too large a number")
    return str(value)
