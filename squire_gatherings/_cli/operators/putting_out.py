"""`disperse` and `kick`: ends a gathering, or puts a user out."""

import click

from squire_gatherings._admin.api.shapes import Closed
from squire_gatherings._cli.confirmation import ask as ask_first
from squire_gatherings._cli.confirmation import check_that_somebody_is_there, yes_option
from squire_gatherings._cli.failures import NothingThere
from squire_gatherings._cli.operators.asking import (
    AdminPort,
    Answer,
    PortOptions,
    admin_options,
    asking,
    json_option,
)
from squire_gatherings._cli.operators.names import USER, shown
from squire_gatherings._cli.operators.wording import count
from squire_gatherings._cli.options import option
from squire_gatherings._cli.printing import print_json, print_line
from squire_gatherings._values.ids import check_gathering_id


@click.command("disperse")
@click.argument("gathering_id", metavar="ID")
@yes_option
@admin_options
@json_option
def disperse(
    gathering_id: str, yes: bool, admin: str, admin_token_file: str, as_json: bool
) -> None:
    """End the gathering ID now, with a notice to all its clients, and wait until it is gone.

    Its log stays: the next one who joins finds everything again. It asks first, unless --yes is
    given. The exit code is 1 if it isn't open. With --json, it prints {"dispersed": true}.

    \b
    Examples:
      squire-gatherings disperse friday-night --yes
    """
    check_gathering_id(gathering_id)
    check_that_somebody_is_there(yes)
    if not yes:
        ask_first(f"End {gathering_id}, for all who are in it?")

    async def ask(port: AdminPort) -> bool:
        return await port.disperse(gathering_id)

    dispersed = asking(PortOptions(admin, admin_token_file), ask)
    if as_json:
        print_json(dispersed=dispersed)
    if not dispersed:
        raise NothingThere(f"gathering {gathering_id} isn't open")
    if not as_json:
        print_line(f"{gathering_id} has ended")


@click.command("kick")
@click.argument("user", type=USER)
@option("--gathering", metavar="ID", help="Only out of this one. Default: of all.")
@yes_option
@admin_options
@json_option
def kick(
    user: str,
    gathering: str | None,
    yes: bool,
    admin: str,
    admin_token_file: str,
    as_json: bool,
) -> None:
    """Put USER out: all connections of that user are closed.

    Whoever is let in may come back; `revoke` takes the rights, too. It asks first, unless --yes
    is given. The exit code is 1 if no connection is that user's. With --json, it prints
    {"closed": 2}, the number of connections.

    \b
    Examples:
      squire-gatherings kick alice
      squire-gatherings kick alice --gathering friday-night --yes
    """
    if gathering is not None:
        check_gathering_id(gathering)
    check_that_somebody_is_there(yes)
    place = "all gatherings" if gathering is None else gathering
    if not yes:
        ask_first(f"Put user {shown(user)} out of {place}?")

    async def ask(port: AdminPort) -> Answer:
        body = {"user": user, "gathering": gathering}
        return await port.post("/api/v1/users/kick", Closed, body)

    answer = asking(PortOptions(admin, admin_token_file), ask)
    if as_json:
        print_json(**answer.json)
    if not answer.value.closed:
        where = "any gathering" if gathering is None else gathering
        raise NothingThere(f"user {shown(user)} isn't connected to {where}")
    if not as_json:
        closed = count(answer.value.closed, "connection", "connections")
        print_line(f"closed {closed} of user {shown(user)}")
