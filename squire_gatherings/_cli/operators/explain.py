"""`explain`: why a gathering is alive, and when it ends."""

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
from squire_gatherings._cli.operators.explaining import explanation
from squire_gatherings._cli.printing import print_json, print_line
from squire_gatherings._values.ids import check_gathering_id


@click.command("explain")
@click.argument("gathering_id", metavar="ID")
@admin_options
@json_option
def explain(gathering_id: str, admin: str, admin_token_file: str, as_json: bool) -> None:
    """Tell why the gathering ID is alive, and when it ends, to the millisecond.

    It says which rule ends it, what moved its deadline last and by whom, what the other rules
    would do, and until when it is held. Asking moves no deadline.

    The exit code is 1 if it isn't open. With --json, it prints what the API answers
    (docs/admin-api.md).

    \b
    Examples:
      squire-gatherings explain friday-night
      squire-gatherings explain friday-night --admin http://127.0.0.1:9000 --json
    """
    path = f"/api/v1/gatherings/{check_gathering_id(gathering_id)}/explain"

    async def ask(port: AdminPort) -> Answer:
        return await port.get(path, Explanation)

    answer = asking(PortOptions(admin, admin_token_file), ask)
    if as_json:
        print_json(**answer.json)
        return
    for line in explanation(answer.value):
        print_line(line)
