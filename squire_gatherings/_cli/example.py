"""The example of a configuration file: all options of a command, with defaults and help."""

import textwrap
from collections.abc import Iterator

import click

from squire_gatherings._cli.configuration import settings_of
from squire_gatherings._cli.options import Parsed, Setting
from squire_gatherings._cli.printing import printable

WIDTH = 96

HEAD = """\
# Options of `squire-gatherings {name}`, in TOML: {name} --config FILE, or SQUIRE_CONFIG.
# What stands on the command line comes first, then SQUIRE_ variables, then this file.
# Each line that is commented out shows the default, or dots where there is none."""


def example_of(command: click.Command) -> str:
    """Return a whole file. It sets nothing: each key is commented out."""
    parts = [HEAD.format(name=command.name)]
    parts += ["\n".join(_lines(setting)) for setting in settings_of(command).values()]
    return "\n\n".join(parts)


def _lines(setting: Setting) -> Iterator[str]:
    # Its help names the options: here they are keys.
    text = setting.help or ""
    if isinstance(setting.type, click.Choice):
        text += f" One of: {', '.join(map(str, setting.type.choices))}."
    if setting.reloads and "SIGHUP" not in text:
        text += " Read again on SIGHUP."
    yield from textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ")
    yield f"# {setting.key} = {_literal(setting)}"


def _literal(setting: Setting) -> str:
    if setting.multiple:
        return "[]"
    if setting.is_flag:
        return "true" if setting.default is True else "false"
    default = setting.default
    if not isinstance(default, str | int | float):
        return '"..."'
    if isinstance(setting.type, click.types.IntParamType):
        return str(default)
    if isinstance(setting.type, Parsed) and str(default).isdecimal():
        return str(default)
    return printable(str(default))
