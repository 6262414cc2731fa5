"""`upgrade`: has a server go on in a new process, and waits until it does."""

import os
import signal
import sys
import time
from pathlib import Path

import click

from squire_gatherings._cli.options import DURATION, ENVIRONMENT, option
from squire_gatherings._cli.printing import print_json
from squire_gatherings._cli.upgrades import FAILED
from squire_gatherings._stores import sqlite_path
from squire_gatherings._stores.sqlite.locks import owner_of

LOOK_AGAIN = 0.02
"""How many seconds pass until we look again."""


@click.command("upgrade", context_settings=ENVIRONMENT)
@option(
    "--store",
    default="sqlite:///squire_gatherings.sqlite3",
    help="The store of the server: sqlite:///PATH, or the path.",
)
@option("--timeout", default="90s", type=DURATION, help="How long to wait until it's done.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def upgrade(store: str, timeout: float, as_json: bool) -> None:
    """Have a server go on in a new process, of the version that is installed now.

    The new process takes the connections over, so that no client notices. If it can't, the old
    one goes on, and the exit code is 1. The server is found by its store, which it has locked.
    """
    path = sqlite_path(store).absolute().resolve()
    owner = owner_of(path)
    if owner is None:
        raise click.UsageError(f"no server has {path}")
    number, before = owner
    began = time.monotonic()
    _ask(number)
    outcome = _wait(path, number, before, began + timeout)
    seconds = round(time.monotonic() - began, 3)
    if as_json:
        shown = {"upgraded": outcome.isdecimal(), "from": number, "seconds": seconds}
        if outcome.isdecimal():
            print_json(**shown, to=int(outcome))
        else:
            print_json(**shown, why=outcome)
    elif outcome.isdecimal():
        print(f"process {outcome} goes on for process {number}, after {seconds:g} s")
    else:
        print(f"squire_gatherings: error: not upgraded: {outcome}", file=sys.stderr)
    if not outcome.isdecimal():
        raise click.exceptions.Exit(1)


def _ask(number: int) -> None:
    asked = getattr(signal, "SIGUSR2", None)
    if asked is None:
        raise click.UsageError("servers can't be upgraded on this system")
    try:
        os.kill(number, asked)
    except OSError as error:
        raise click.UsageError(f"can't ask process {number}: {error.strerror}") from None


def _wait(path: Path, number: int, before: str, until: float) -> str:
    """Return the number of the process that goes on, or why none does."""
    status = before
    while time.monotonic() < until:
        owner = owner_of(path)
        if owner is None:
            return f"process {number} has ended, and nobody goes on"
        if owner[0] != number:
            return str(owner[0])
        status = owner[1]
        _, _, text = status.partition(" ")
        if status != before and text.startswith(FAILED):
            return text.removeprefix(FAILED).strip()
        time.sleep(LOOK_AGAIN)
    if status == before:
        return f"process {number} doesn't answer: it may be of a version that can't"
    return "it takes too long; it may still succeed"
