"""The command line: what `squire-gatherings` and `python -m squire_gatherings` understand."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import click
import trio

from squire_gatherings.edges.websocket import ServerSettings
from squire_gatherings.programs.logs import LogFormat, configure_logs
from squire_gatherings.programs.serve import CannotListen, run_server
from squire_gatherings.programs.units import parse_duration, parse_size
from squire_gatherings.values.errors import GatheringsError
from squire_gatherings.values.settings import HallSettings


class _Parsed(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A click parameter that a function parses."""

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


def _rate_or_off(text: str) -> float | None:
    if text.strip() == "off":
        return None
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is neither a number nor off") from None


DURATION = _Parsed("duration", parse_duration)
DURATION_OR_OFF = _Parsed("duration|off", _duration_or_off)
RATE = _Parsed("number|off", _rate_or_off)
SIZE = _Parsed("size", parse_size)

_option = partial(click.option, show_default=True, show_envvar=True)


# Without `no_args_is_help`, a missing command is an error of one line like any other.
@click.group(
    context_settings={"auto_envvar_prefix": "SQUIRE", "max_content_width": 96},
    no_args_is_help=False,
)
@click.version_option(package_name="squire-gatherings", message="%(prog)s %(version)s")
def cli() -> None:
    """Live rooms that end on time.

    A gathering is the crowd around one live tournament. Clients reach it by WebSocket at
    ws://HOST:PORT/gatherings/ID; when nobody has used it for a day, it tells everybody
    and is gone from memory, and the next one who joins finds everything again.
    """


@cli.command(context_settings={"auto_envvar_prefix": "SQUIRE"})
@_option("--host", default="127.0.0.1", help="Address or name to listen on.")
@_option("--port", default=8765, type=click.IntRange(0, 65535), help="0 picks a free one.")
@_option(
    "--store",
    default="sqlite:///squire_gatherings.sqlite3",
    help="Where logs last: sqlite:///PATH (four slashes: absolute), or memory: for nowhere.",
)
@_option("--idle-timeout", default="24h", type=DURATION, help="No message this long: it ends.")
@_option(
    "--empty-timeout", default="off", type=DURATION_OR_OFF, help="No connection this long: it ends."
)
@_option("--close-grace", default="5s", type=DURATION, help="Time that a notice may take.")
@_option("--retry-interval", default="250ms", type=DURATION, help="First repeat; doubles.")
@_option(
    "--retry-limit", default="10s", type=DURATION, help="No acknowledgement this long: closed."
)
@_option("--max-message-size", default="256KiB", type=SIZE, help="Largest from a client.")
@_option("--rate-limit", default="off", type=RATE, help="Messages per second and client.")
@_option(
    "--log-level",
    default="warning",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Least level that is logged.",
)
@_option(
    "--log-format",
    default="text",
    type=click.Choice(["text", "json"]),
    help="Lines of key=value, or of JSON.",
)
def serve(
    host: str,
    port: int,
    store: str,
    idle_timeout: float,
    empty_timeout: float | None,
    close_grace: float,
    retry_interval: float,
    retry_limit: float,
    max_message_size: int,
    rate_limit: float | None,
    log_level: str,
    log_format: LogFormat,
) -> None:
    """Serve gatherings until SIGINT or SIGTERM.

    Prints one line on standard output when it is ready, and logs to standard error. Each
    option may also come from the environment: --idle-timeout is SQUIRE_IDLE_TIMEOUT.
    Durations have units: 24h, 1h30m, 2.5s, 500ms. Sizes: 65536, 64KiB, 1MiB.

    \b
    Examples:
      squire-gatherings serve
      squire-gatherings serve --port 0 --store memory: --idle-timeout 2s
      SQUIRE_STORE=sqlite:////var/lib/squire/rooms.sqlite3 squire-gatherings serve
    """
    hall_settings = HallSettings(
        idle_timeout=idle_timeout,
        empty_timeout=empty_timeout,
        close_grace=close_grace,
        retry_interval=retry_interval,
        retry_limit=retry_limit,
    )
    settings = ServerSettings(
        max_message_size=max_message_size, rate_limit=rate_limit, close_timeout=close_grace
    )
    configure_logs(log_level, log_format)
    trio.run(
        lambda: run_server(
            host=host, port=port, store=store, hall_settings=hall_settings, settings=settings
        )
    )


def main() -> None:
    """Run the command line; what is wrong is said in one line, with exit code 2."""
    try:
        sys.exit(cli.main(prog_name="squire-gatherings", standalone_mode=False) or 0)
    except click.ClickException as error:
        _complain(error.format_message())
    except click.Abort:
        sys.exit(130)
    except (GatheringsError, CannotListen) as error:
        _complain(str(error))
    except ExceptionGroup as group:
        expected = group.subgroup((GatheringsError, CannotListen))
        if expected is None or group.split((GatheringsError, CannotListen))[1] is not None:
            raise
        error_in_group: BaseException = expected
        while isinstance(error_in_group, BaseExceptionGroup):
            error_in_group = error_in_group.exceptions[0]
        _complain(str(error_in_group))


def _complain(message: str) -> None:
    print(f"squire_gatherings: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
