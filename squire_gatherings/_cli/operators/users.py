"""`revoke` and `role`: takes a user's rights, or gives other ones."""

import click

from squire_gatherings._admin.api.shapes import Closed, Connected
from squire_gatherings._cli.confirmation import ask as ask_first
from squire_gatherings._cli.confirmation import check_that_somebody_is_there, yes_option
from squire_gatherings._cli.operators.asking import (
    AdminPort,
    Answer,
    PortOptions,
    admin_options,
    asking,
    json_option,
)
from squire_gatherings._cli.operators.instants import INSTANT, by_their_clock
from squire_gatherings._cli.operators.names import ROLE, USER, shown
from squire_gatherings._cli.operators.wording import count
from squire_gatherings._cli.options import DURATION, DURATION_OR_ENDLESS, option
from squire_gatherings._cli.printing import print_json, print_line
from squire_gatherings._cli.units import LONGEST
from squire_gatherings._values.ids import check_gathering_id


@click.command("revoke")
@click.argument("user", type=USER)
@option("--until", type=INSTANT, help="Until this time: 2026-11-28T22:00:00Z (no zone: UTC).")
@option(
    "--for",
    "span",
    type=DURATION_OR_ENDLESS,
    help="So long from now: 24h; off: for as long as the server runs.",
)
@yes_option
@admin_options
@json_option
def revoke(
    user: str,
    until: float | None,
    span: float | None,
    yes: bool,
    admin: str,
    admin_token_file: str,
    as_json: bool,
) -> None:
    """Take the rights of USER in every gathering, for a time, and close that user's connections.

    Say at least until the user's tokens have expired. A server that restarts forgets it. It asks
    first, unless --yes is given. With --json, it prints {"closed": 2}, the number of connections.

    \b
    Examples:
      squire-gatherings revoke alice --for 24h
      squire-gatherings revoke alice --until 2026-11-30T12:00:00Z --yes
    """
    if (until is None) is (span is None):
        raise click.UsageError("give either --until or --for")
    if span == 0:
        raise click.UsageError("--for must be above 0")
    check_that_somebody_is_there(yes)
    if not yes:
        ask_first(f"Take all rights of user {shown(user)}?")

    async def ask(port: AdminPort) -> Answer:
        end = until
        if span is not None and span <= LONGEST:
            end = await by_their_clock(port, span)
        return await port.post("/api/v1/users/revoke", Closed, {"user": user, "until": end})

    answer = asking(PortOptions(admin, admin_token_file), ask)
    if as_json:
        print_json(**answer.json)
        return
    closed = count(answer.value.closed, "connection", "connections")
    print_line(f"user {shown(user)} has no rights any more; closed {closed}")


@click.command("role")
@click.argument("user", type=USER)
@click.argument("role", type=ROLE)
@option("--gathering", metavar="ID", help="Only in this one. Default: in all.")
@option("--until", type=INSTANT, help="For later joins, too, until this time.")
@option("--for", "span", type=DURATION, help="For later joins, too, so long from now: 24h.")
@admin_options
@json_option
def role(
    user: str,
    role: str,
    gathering: str | None,
    until: float | None,
    span: float | None,
    admin: str,
    admin_token_file: str,
    as_json: bool,
) -> None:
    """Give USER another role: member, observer, or one of your own.

    It counts at once for all connections of that user. A later join has the role of its token
    again, unless --until or --for is given. With --json, it prints {"connections": 2}, the number
    of those that have it now.

    \b
    Examples:
      squire-gatherings role alice observer
      squire-gatherings role alice observer --gathering friday-night --for 24h
    """
    if until is not None and span is not None:
        raise click.UsageError("give --until or --for, not both")
    if span == 0:
        raise click.UsageError("--for must be above 0")
    if gathering is not None:
        check_gathering_id(gathering)

    async def ask(port: AdminPort) -> Answer:
        end = until if span is None else await by_their_clock(port, span)
        body = {"user": user, "role": role, "gathering": gathering, "until": end}
        return await port.post("/api/v1/users/change-role", Connected, body)

    answer = asking(PortOptions(admin, admin_token_file), ask)
    if as_json:
        print_json(**answer.json)
        return
    connections = count(answer.value.connections, "connection", "connections")
    print_line(f"user {shown(user)} is {shown(role)} on {connections}")
