"""`nodes` and `drain`: which nodes form a hall, and that one gives all it has to the others."""

import click

from squire_gatherings._admin.api.shapes import Drained, Nodes, NodeShown
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
from squire_gatherings._cli.operators.wording import count, span
from squire_gatherings._cli.printing import print_json, print_line, printable

DRAINING = 600.0
"""How many seconds a drain may take until it's no longer waited for."""

HEAD = ("NODE", "STATE", "GATHERINGS", "CLIENTS", "LAST BEAT", "REACHED AT")


@click.command("nodes")
@admin_options
@json_option
def nodes(admin: str, admin_token_file: str, as_json: bool) -> None:
    """List the nodes that share a server's database, as that server sees them.

    A node is up, draining (it gives what it has to the others), or silent (its lease is over, and
    another one is about to take over what it has). The server that was asked has a star. Exits
    with 1 if a node is silent, or if the server can't tell whether it is still one.

    \b
    Examples:
      squire-gatherings nodes
      squire-gatherings nodes --json --admin http://10.0.0.2:9000
    """

    async def ask(port: AdminPort) -> Answer:
        return await port.get("/api/v1/nodes", Nodes)

    answer = asking(PortOptions(admin, admin_token_file), ask)
    said: Nodes = answer.value
    if as_json:
        print_json(**answer.json)
    elif said.this is None:
        print_line("this server shares its store with no other")
    else:
        for line in _table(said):
            print_line(line)
    is_uncertain = said.lease_left is not None and said.lease_left <= 0
    if is_uncertain or any(node.state == "silent" for node in said.nodes):
        raise click.exceptions.Exit(1)


@click.command("drain")
@yes_option
@admin_options
@json_option
def drain(yes: bool, admin: str, admin_token_file: str, as_json: bool) -> None:
    """Have a server give all its gatherings to the other nodes, and open nothing more.

    Their clients are sent to the nodes that have them then, and notice a pause at most. The server
    goes on, without gatherings, until it is stopped; `serve` does the same by itself when it is
    stopped. Exits with 1 if some stay, since they can't sleep or there is no other node.

    \b
    Examples:
      squire-gatherings drain --yes
      squire-gatherings drain --yes --json --admin http://10.0.0.2:9000
    """
    check_that_somebody_is_there(yes)
    if not yes:
        ask_first("Give all gatherings of this server to the other nodes?")

    async def ask(port: AdminPort) -> Answer:
        return await port.post("/api/v1/drain", Drained, patience=DRAINING)

    answer = asking(PortOptions(admin, admin_token_file), ask)
    said: Drained = answer.value
    if as_json:
        print_json(**answer.json)
    else:
        stay = f"; {count(said.left, 'stays', 'stay')} here" if said.left else ""
        print_line(f"gave {count(said.moved, 'gathering', 'gatherings')} to other nodes{stay}")
    if said.left:
        raise click.exceptions.Exit(1)


def _table(said: Nodes) -> list[str]:
    rows = [HEAD, *(_row(node, is_this=node.id == said.this) for node in said.nodes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    if said.lease_left is None or said.lease_left <= 0:
        return [*lines, "", "The server can't tell now whether it is still one of them."]
    return [*lines, "", f"Its lease lasts {span(said.lease_left)} more without another beat."]


def _row(node: NodeShown, *, is_this: bool) -> tuple[str, ...]:
    name = printable(node.name)[1:-1] + (" *" if is_this else "")
    beat = "left" if node.beat_age is None else f"{span(node.beat_age)} ago"
    where = node.url or node.address or "this machine"
    return (
        name,
        node.state,
        str(node.gatherings),
        str(node.connections),
        beat,
        printable(where)[1:-1],
    )
