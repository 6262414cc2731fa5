"""Run the tests of all mutants, or of those whose names have a word, and print a table.

The exit code is 1 if one survived.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import click

from tests.mutants.faults import FAULTS
from tests.mutants.running import Outcome, run

AT_ONCE = 2
FOUND = (Outcome.KILLED, Outcome.HANGS)


@click.command(help=__doc__)
@click.argument("words", nargs=-1)
@click.option("--at-once", default=AT_ONCE, show_default=True, help="How many run at a time.")
@click.option("--tests", multiple=True, help="Run these tests, instead of those of the table.")
def main(words: tuple[str, ...], at_once: int, tests: tuple[str, ...]) -> None:
    """Run them."""
    names = [name for name in FAULTS if all(word in name for word in words)]
    width = max(map(len, names), default=0)
    survivors = 0
    with ThreadPoolExecutor(at_once) as pool:
        for name, found in zip(names, pool.map(partial(run, tests=tests), names), strict=True):
            survivors += found.outcome not in FOUND
            click.echo(f"{name:{width}}  {found.outcome:8}  {found.seconds:5.1f} s  {found.by}")
    click.echo(f"{len(names)} mutants, {survivors} survived")
    sys.exit(survivors > 0)


if __name__ == "__main__":
    main()
