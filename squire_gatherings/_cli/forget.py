"""`forget`: deletes gatherings from a store that nobody serves."""

import sys

import click

from squire_gatherings._cli.options import ENVIRONMENT, option
from squire_gatherings._cli.printing import print_json
from squire_gatherings._stores import sqlite_path
from squire_gatherings._stores.sqlite import forget as stores

SHOWN = 10
"""How many ids the question names."""


@click.command("forget", context_settings=ENVIRONMENT)
@click.argument("store")
@click.argument("pattern")
@option("--yes", is_flag=True, help="Don't ask.")
@option("--json", "as_json", is_flag=True, help="Answer with a JSON object.")
def forget(store: str, pattern: str, yes: bool, as_json: bool) -> None:
    """Delete the gatherings whose ids match PATTERN from STORE (sqlite:///PATH, or the PATH).

    They are deleted for good, with all their ops. It asks first, unless --yes is given. The
    server must have been stopped. PATTERN is as in a shell (* ? [a-z]); quote it.

    With --json, it prints {"forgotten": [ID, ...]}.

    \b
    Examples:
      squire-gatherings forget rooms.sqlite3 'load-*'
      squire-gatherings forget sqlite:////var/lib/squire/rooms.sqlite3 friday-night --yes
    """
    path = sqlite_path(store)
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("nobody is there to be asked: add --yes")
        found = stores.matching(path, pattern)
        if found:
            more = ", …" if len(found) > SHOWN else ""
            shown = f"{', '.join(found[:SHOWN])}{more}"
            click.confirm(f"Delete {len(found)} for good ({shown})?", abort=True, err=True)
    forgotten = stores.forget(path, pattern)
    if as_json:
        print_json(forgotten=forgotten)
    else:
        print(f"forgot {len(forgotten)} gatherings")
