"""`top`: the hall, live: its gatherings with what is left to them, and the last ends."""

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import click
import trio

from squire_gatherings._admin.api.end_shapes import Endings
from squire_gatherings._admin.api.shapes import Gatherings, HallState
from squire_gatherings._cli.operators.asking import (
    AdminPort,
    CannotAsk,
    PortOptions,
    admin_options,
    asking,
    json_option,
)
from squire_gatherings._cli.operators.keys import open_keys
from squire_gatherings._cli.operators.top_state import SORTS, Order, Sample, Top
from squire_gatherings._cli.options import DURATION, option
from squire_gatherings._cli.printing import is_terminal, print_json, printing

if TYPE_CHECKING:
    from rich.console import Console

MOST_ROWS = 1000
ROWS = 20
"""How many gatherings are shown where there's no terminal that says how many fit."""

ENDINGS = 5
LEAST_EVERY = 0.1

FRAME = 0.5
"""At most so many seconds lie between two countdowns that are shown."""


@click.command("top")
@option(
    "--sort",
    default="deadline",
    type=click.Choice(list(SORTS)),
    help="By what gatherings are sorted.",
)
@option("--reverse", is_flag=True, help="In the other order.")
@option("--every", default="1s", type=DURATION, help="How often the server is asked.")
@option(
    "--rows",
    type=click.IntRange(1, MOST_ROWS),
    help="How many gatherings are shown. Default: as many as fit.",
)
@option("--once", is_flag=True, help="Print it once, and end.")
@admin_options
@json_option
def top(
    sort: str,
    reverse: bool,
    every: float,
    rows: int | None,
    once: bool,
    admin: str,
    admin_token_file: str,
    as_json: bool,
) -> None:
    """Show the hall live: gatherings with what is left to them, and the last ends.

    A line for each gathering: its id, the time left until it ends, how many clients it has, its
    messages a second, its seq and its age. Those that end first come first. Below them are the
    last ends: by which rule, and how late. It moves no deadline.

    \b
    Keys:
      d c s o m i   sort by deadline, clients, seq, opening, messages, id
      r             the other order
      q             quit, as Ctrl-C

    Where standard output is no terminal, it prints one table and ends, as with --once. With
    --json, it prints one object: what the API says of the hall, its gatherings and its last ends
    (docs/admin-api.md), and ends.

    \b
    Examples:
      squire-gatherings top
      squire-gatherings top --sort clients --once
      squire-gatherings top --json --rows 1000
    """
    if every < LEAST_EVERY:
        raise click.UsageError(f"--every must be at least {LEAST_EVERY:g}s")
    port, order = PortOptions(admin, admin_token_file), Order(sort, reverse)
    if as_json:
        sample = asking(port, lambda asked: _sample(asked, order, rows or ROWS))
        print_json(**sample.json)
        return
    if once or not is_terminal(sys.stdout):
        sample = asking(port, lambda asked: _sample(asked, order, rows or ROWS))
        _print(sample, order)
    else:
        asking(port, lambda asked: _live(asked, order, every, rows))


async def _sample(port: AdminPort, order: Order, rows: int) -> Sample:
    """Ask for all that is shown. Raises what `AdminPort.get` does."""
    hall = await port.get("/api/v1/hall", HallState)
    listed = await port.get(
        "/api/v1/gatherings", Gatherings, sort=SORTS[order.sort], order=order.direction, limit=rows
    )
    ended = await port.get("/api/v1/endings", Endings, limit=ENDINGS)
    return Sample(hall, listed, ended, at=trio.current_time())


def _console() -> "Console":
    try:
        from rich.console import Console
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "rich":
            raise
        raise CannotAsk("top needs rich: pip install 'squire-gatherings[admin]'") from None
    return Console(highlight=False)


def _print(sample: Sample, order: Order) -> None:
    from squire_gatherings._cli.operators.top_view import view

    console = _console()
    state = Top(order)
    state.take(sample)
    with printing():
        console.print(view(state, at=sample.at))


async def _live(port: AdminPort, order: Order, every: float, rows: int | None) -> None:
    """Show it until somebody quits. Cancellation: the terminal is as it was before."""
    console = _console()
    from rich.live import Live

    from squire_gatherings._cli.operators.top_view import AROUND, view

    state = Top(order)

    def fits() -> int:
        return rows or min(MOST_ROWS, max(1, console.height - AROUND - ENDINGS))

    # What can't be asked at all is said at the start, before the terminal changes.
    state.take(await _sample(port, state.order, fits()))
    async with AsyncExitStack() as stack:
        live = stack.enter_context(
            Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False)
        )
        keys = await stack.enter_async_context(open_keys(sys.stdin))
        nursery = await stack.enter_async_context(trio.open_nursery())
        pressed = trio.Event()

        async def listen(keys: AsyncIterator[str]) -> None:
            nonlocal pressed
            async for key in keys:
                if key == "q":
                    nursery.cancel_scope.cancel()
                elif state.press(key):
                    pressed.set()

        async def ask() -> None:
            nonlocal pressed
            while True:
                with trio.move_on_after(every):
                    await pressed.wait()
                pressed = trio.Event()
                try:
                    state.take(await _sample(port, state.order, fits()))
                except CannotAsk as error:
                    state.fail(error.format_message())

        nursery.start_soon(listen, keys)
        nursery.start_soon(ask)
        while True:
            live.update(view(state, at=trio.current_time(), height=console.height), refresh=True)
            await trio.sleep(min(every, FRAME))
