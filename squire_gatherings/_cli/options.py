"""Options: how commands declare theirs, and the types of parameter that they share."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import click

from squire_gatherings._cli.points import parse_point
from squire_gatherings._cli.units import format_size, parse_duration, parse_size

LEAST_MESSAGE = 1024
"""The least that `--max-message-size` may be, in bytes: a join with a token fits."""

LARGEST_MESSAGE = 512 * 1024**2
"""The largest that it may be, in bytes: less than SQLite can hold."""


class Parsed(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A type of parameter whose values a function parses.

    A configuration file may give a number without quotes, where that is text which it parses.
    """

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _duration_or_off(text: str) -> float | None:
    return None if text.strip() == "off" else parse_duration(text)


def _duration_or_endless(text: str) -> float:
    return math.inf if text.strip() == "off" else parse_duration(text)


def _rate_or_off(text: str) -> float | None:
    if text.strip() == "off":
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not math.isfinite(rate):
        raise ValueError(f"{text[:40]!r} is neither a number nor off")
    return rate


def _count(text: str) -> int:
    if not _is_whole(text):
        raise ValueError(f"{text[:40]!r} is not a whole number")
    return int(text)


def _count_or_off(text: str) -> int | None:
    if text.strip() == "off":
        return None
    if not _is_whole(text):
        raise ValueError(f"{text[:40]!r} is neither a whole number nor off")
    return int(text)


def _speed(text: str) -> float | None:
    if text.strip() == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed < math.inf:
        raise ValueError(f"{text[:40]!r} is neither a number above 0 nor max")
    return speed


def _share(text: str) -> float:
    text = text.strip()
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < math.inf:
        raise ValueError(f"{text[:40]!r} is not a share such as 0.2 or 20%")
    return share


def _count_or_share(text: str) -> int | float:
    return int(text) if _is_whole(text) else _share(text)


def _is_whole(text: str) -> bool:
    # Not more digits than Python reads, and only the digits 0 to 9.
    text = text.strip()
    return text.isascii() and text.isdecimal() and len(text) <= 18


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        # Without repeating it: it may be a secret.
        raise ValueError("a header is 'Name: value'")
    return name.strip(), value.strip()


def _message_size(text: str) -> int:
    size = parse_size(text)
    if not LEAST_MESSAGE <= size <= LARGEST_MESSAGE:
        least, largest = format_size(LEAST_MESSAGE), format_size(LARGEST_MESSAGE)
        raise ValueError(f"{text[:40]!r} is not between {least} and {largest}")
    return size


def _size_or_off(text: str) -> int | None:
    return None if text.strip() == "off" else parse_size(text)


def _memory(text: str) -> int | float | None:
    """Return a size, a share (a `float` from 0 to 1), or None for no limit."""
    if not text.strip().endswith("%"):
        return _size_or_off(text)
    share = _share(text)
    if not 0 < share <= 1:
        raise ValueError(f"{text[:40]!r} is not a share from 1% to 100%")
    return share


DURATION = Parsed("duration", parse_duration)
DURATION_OR_ENDLESS = Parsed("duration|off", _duration_or_endless)
DURATION_OR_OFF = Parsed("duration|off", _duration_or_off)
SPEED = Parsed("number|max", _speed)
POINT = Parsed("seq|time", parse_point)
COUNT = Parsed("count", _count)
COUNT_OR_OFF = Parsed("count|off", _count_or_off)
RATE = Parsed("number|off", _rate_or_off)
SIZE = Parsed("size", parse_size)
SIZE_OR_OFF = Parsed("size|off", _size_or_off)
MEMORY = Parsed("size|share|off", _memory)
MESSAGE_SIZE = Parsed("size", _message_size)
SHARE = Parsed("share", _share)
COUNT_OR_SHARE = Parsed("number|share", _count_or_share)
FILE = click.Path(dir_okay=False)


class _Header(Parsed):
    """Headers. In the environment each has a line of its own, since they have spaces in them."""

    envvar_list_splitter = "\n"


class Setting(click.Option):
    """An option. Of a command with `--config` it may also stand in the file."""

    def __init__(
        self, *args: Any, in_file: bool = True, reloads: bool = False, **attributes: Any
    ) -> None:
        """Make it.

        Args:
            args: As for `click.Option`.
            in_file: Whether it may stand in a configuration file.
            reloads: Whether a running server takes another value over on SIGHUP.
            attributes: As for `click.Option`.
        """
        super().__init__(*args, **attributes)
        self.in_file = in_file
        self.reloads = reloads

    @property
    def key(self) -> str:
        """Its name, in a configuration file as on the command line: `idle-timeout`."""
        return max(self.opts, key=len).removeprefix("--")


option = partial(click.option, cls=Setting, show_default=True, show_envvar=True)

reloaded = partial(option, reloads=True)
"""An option whose value a running server takes over on SIGHUP."""

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def options(*several: Decorator) -> Decorator:
    """Return a decorator that gives a command several options; its help has them in this order."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for one in reversed(several):
            command = one(command)
        return command

    return decorate


ENVIRONMENT = {"auto_envvar_prefix": "SQUIRE", "help_option_names": ["-h", "--help"]}
"""Settings of a command whose options may all come from the environment."""

TOKEN = click.option(
    "--token",
    envvar="SQUIRE_TOKEN",
    show_envvar=True,
    help="The token for the join. Set the variable: others can read a command line.",
)

HEADERS = click.option(
    "--header",
    "headers",
    metavar="'NAME: VALUE'",
    multiple=True,
    type=_Header("header", _header),
    envvar="SQUIRE_HEADERS",
    show_envvar=True,
    help="A header of the opening request. May be repeated (in the variable: a line each).",
)
