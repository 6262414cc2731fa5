"""Confirmation: what can't be taken back is asked for on the terminal, unless --yes is given."""

import sys

import click

from squire_gatherings._cli.options import option
from squire_gatherings._cli.printing import is_terminal

yes_option = option("--yes", is_flag=True, help="Don't ask.")


def check_that_somebody_is_there(yes: bool) -> None:
    """Refuse a command that would ask where nobody can answer. Raises `click.UsageError`."""
    if not yes and not is_terminal(sys.stdin):
        raise click.UsageError("nobody is there to be asked: add --yes")


def ask(question: str) -> None:
    """Ask, and go on if the answer is yes. Raises `click.Abort` if it isn't."""
    click.confirm(question, abort=True, err=True)
