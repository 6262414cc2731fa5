"""Tell all small stories in every order, and then plans at random.

The exit code is 1 if something doesn't hold; then the plan and the seed are printed.
"""

import logging
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import click

from tests.schedules.explore import AtRandom, Explored, Found, explore
from tests.schedules.plans import STORIES, plans
from tests.schedules.stories import Plan

SEEDS_AT_ONCE = 32
"""So many seeds are one piece of work."""

NIGHT = 8 * 3600


def _explored(most: int, plan: Plan) -> Explored | str:
    logging.disable(logging.CRITICAL)
    try:
        return explore(plan, most=most)
    except Found as found:
        return _all_of(found)


def _told(seed: int) -> int | str:
    logging.disable(logging.CRITICAL)
    at_random = AtRandom()
    try:
        for one in range(seed, seed + SEEDS_AT_ONCE):
            at_random.tell(one)
    except Found as found:
        return _all_of(found)
    return at_random.told


def _all_of(found: Found) -> str:
    """Return what was found, and where, in one line."""
    error: BaseException | None = found.__cause__
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{error!r}: {found}"


def _pieces(first: int, count: int) -> Iterator[int]:
    plans_of_a_piece = SEEDS_AT_ONCE * len(AtRandom.plans_of(first))
    for piece in range(-(-count // plans_of_a_piece)):
        yield first + piece * SEEDS_AT_ONCE


@click.command(help=__doc__)
@click.option("--count", default=0, help="How many plans are told at random.")
@click.option("--seed", default=0, show_default=True, help="The first seed of those.")
@click.option("--most", default=300, show_default=True, help="How many orders of a plan, at most.")
@click.option("--at-once", default=2, show_default=True, help="How many processes there are.")
@click.option("--story", default="", help="Only stories whose names have this.")
def main(count: int, seed: int, most: int, at_once: int, story: str) -> None:
    """Tell them."""
    faults: list[str] = []
    with ProcessPoolExecutor(at_once) as pool:
        for name, lanes in STORIES.items():
            if story not in name:
                continue
            results = [*pool.map(partial(_explored, most), plans(lanes), chunksize=16)]
            faults += [one for one in results if isinstance(one, str)]
            done = [one for one in results if isinstance(one, Explored)]
            runs, left = sum(one.runs for one in done), sum(not one.is_complete for one in done)
            click.echo(f"{name}: {len(results)} plans, {runs} orders; {left} plans have more")
        began, told = time.monotonic(), 0
        for result in pool.map(_told, _pieces(seed, count)):
            if isinstance(result, str):
                faults.append(result)
            else:
                told += result
        if told:
            rate = told / (time.monotonic() - began)
            click.echo(f"at random: {told} plans, {rate:.0f} a second, {rate * NIGHT:,.0f} a night")
    for fault in faults:
        click.echo(fault)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
