"""`hold`, `extend` and `warn`: what an operator says about a gathering's end."""

import time
from typing import Any

import click

from squire_gatherings._admin.api.end_shapes import Explanation
from squire_gatherings._cli.operators.asking import (
    AdminPort,
    Answer,
    PortOptions,
    admin_options,
    asking,
    json_option,
)
from squire_gatherings._cli.operators.explaining import end_of
from squire_gatherings._cli.operators.instants import INSTANT
from squire_gatherings._cli.options import DURATION, option
from squire_gatherings._cli.printing import print_json, print_line
from squire_gatherings._values.ids import check_gathering_id


@click.command("hold")
@click.argument("gathering_id", metavar="ID")
@option("--until", type=INSTANT, help="Until this time: 2026-11-28T22:00:00Z (no zone: UTC).")
@option("--for", "span", type=DURATION, help="So long from now: 3h.")
@option("--release", is_flag=True, help="Take a hold back: its rules count again.")
@admin_options
@json_option
def hold(
    gathering_id: str,
    until: float | None,
    span: float | None,
    release: bool,
    admin: str,
    admin_token_file: str,
    as_json: bool,
) -> None:
    """Let no rule end the gathering ID before a time.

    It prints when it ends then. The exit code is 1 if it isn't open. With --json, it prints what
    the API answers, as `explain` does.

    \b
    Examples:
      squire-gatherings hold friday-night --for 3h
      squire-gatherings hold friday-night --until 2026-11-29T02:00:00+01:00
      squire-gatherings hold friday-night --release
    """
    if (until is not None) + (span is not None) + release != 1:
        raise click.UsageError("give one of --until, --for and --release")
    if span == 0:
        raise click.UsageError("--for must be above 0; --release takes a hold back")
    if until is not None and until <= time.time():
        raise click.UsageError("--until is past; --release takes a hold back")
    body: dict[str, Any] = {"until": until} if span is None else {"for": span}
    _say(gathering_id, "hold", body, PortOptions(admin, admin_token_file), as_json)


@click.command("extend")
@click.argument("gathering_id", metavar="ID")
@click.argument("duration", type=DURATION)
@admin_options
@json_option
def extend(
    gathering_id: str, duration: float, admin: str, admin_token_file: str, as_json: bool
) -> None:
    """Put the end of the gathering ID off, by DURATION: 30m.

    It prints when it ends then. The exit code is 1 if it isn't open. With --json, it prints what
    the API answers, as `explain` does.

    \b
    Examples:
      squire-gatherings extend friday-night 30m
    """
    if not duration:
        raise click.UsageError("DURATION must be above 0")
    port = PortOptions(admin, admin_token_file)
    _say(gathering_id, "extend", {"seconds": duration}, port, as_json)


@click.command("warn")
@click.argument("gathering_id", metavar="ID")
@admin_options
@json_option
def warn(gathering_id: str, admin: str, admin_token_file: str, as_json: bool) -> None:
    """Tell the clients of the gathering ID now when it ends.

    Any message of theirs that counts puts its end off, as always, if its rule allows that. The
    exit code is 1 if it isn't open. With --json, it prints what the API answers, as `explain`.

    \b
    Examples:
      squire-gatherings warn friday-night
    """
    _say(gathering_id, "warn", None, PortOptions(admin, admin_token_file), as_json)


def _say(
    gathering_id: str, what: str, body: dict[str, Any] | None, asked: PortOptions, as_json: bool
) -> None:
    path = f"/api/v1/gatherings/{check_gathering_id(gathering_id)}/{what}"

    async def ask(port: AdminPort) -> Answer:
        return await port.post(path, Explanation, body)

    answer = asking(asked, ask)
    if as_json:
        print_json(**answer.json)
    else:
        print_line(end_of(answer.value))
