"""Check all configurations of the model, and print how many states each has.

The exit code is 1 if something doesn't hold; the shortest way there is printed.
"""

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import click

from tests.model.checker import Result, check
from tests.model.configurations import LARGE, SMALL

ALL = {**SMALL, **LARGE}


def _checked(most: int, name: str) -> tuple[Result, float]:
    began = time.process_time()
    return check(ALL[name], most=most), time.process_time() - began


@click.command(help=__doc__)
@click.option("--most", default=2_000_000, show_default=True, help="States of one configuration.")
@click.option("--at-once", default=2, show_default=True, help="How many processes there are.")
@click.argument("words", nargs=-1)
def main(most: int, at_once: int, words: tuple[str, ...]) -> None:
    """Check them."""
    names = [name for name in ALL if all(word in name for word in words)]
    width = max(map(len, names), default=0)
    faults = 0
    with ProcessPoolExecutor(at_once) as pool:
        for name, (result, took) in zip(
            names, pool.map(partial(_checked, most), names), strict=True
        ):
            what = "all" if result.is_complete else "the first"
            states, steps = f"{result.states:,}", f"{result.steps:,}"
            click.echo(f"{name:{width}}  {what} {states} states, {steps} steps, {took:.1f} s")
            if result.fault is not None:
                faults += 1
                click.echo(f"{result.fault}")
    sys.exit(faults > 0)


if __name__ == "__main__":
    main()
