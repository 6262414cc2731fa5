"""`watch`: prints what happens in a gathering, until it disperses."""

import math
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial

import click
import trio

from squire_gatherings._cli.options import ENVIRONMENT, HEADERS, POINT, TOKEN, option
from squire_gatherings._cli.points import Point
from squire_gatherings._cli.printing import (
    is_terminal,
    print_json,
    print_line,
    printable,
    printing,
)
from squire_gatherings._cli.units import format_duration
from squire_gatherings._hall.nurseries import open_hidden_nursery
from squire_gatherings.client import (
    Change,
    EndingSoon,
    Gathering,
    GatheringsError,
    LogReplaced,
    open_client,
)


@click.command("watch", context_settings=ENVIRONMENT)
@click.argument("url")
@click.argument("gathering_id", metavar="ID")
@option(
    "--since", type=click.IntRange(0), help="Begin after this seq. Default: with what comes now."
)
@option("--at", type=POINT, help="Print what was after this seq, or at this time, and end.")
@option("--count", type=click.IntRange(1), help="Stop after so many ops.")
@option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@TOKEN
@HEADERS
def watch(
    url: str,
    gathering_id: str,
    since: int | None,
    at: Point | None,
    count: int | None,
    as_json: bool,
    token: str | None,
    headers: tuple[tuple[str, str], ...],
) -> None:
    """Print what happens in the gathering ID of the server at URL, live.

    Each op is a line: its seq, who submitted it (or -), and the op. A terminal also shows the
    time that is left until the gathering disperses, if nobody uses it. The command ends when
    the gathering disperses. It joins and acknowledges like any other client, and both count as
    activity.

    \b
    With --json, each line has a type:
      joined     gathering, seq, expires_in (seconds; null: never)
      op         seq, by, op
      ending     rule, expires_in (seconds until it ends; null: that was put off)
      replaced   what follows is another log, from its first op on
      dispersed  reason, seq, idle_for (seconds)

    With --at it prints the state then, as JSON, and ends; or where the gathering has no state
    but its ops, those (after --since) up to there. With --json, a state is a line of the type
    state, with seq and state.

    \b
    Examples:
      squire-gatherings watch ws://127.0.0.1:8765 friday-night
      squire-gatherings watch ws://127.0.0.1:8765 friday-night --at 2026-11-28T20:00:00Z
      squire-gatherings watch ws://127.0.0.1:8765 friday-night --since 0 --json
    """
    if at is not None:
        if count is not None:
            raise click.UsageError("--count goes without --at")
        trio.run(
            partial(_look_back, url, gathering_id, since, at, as_json, token, headers),
            restrict_keyboard_interrupt_to_checkpoints=True,
        )
        return
    trio.run(
        partial(_watch, url, gathering_id, since, count, as_json, token, headers),
        # Otherwise Ctrl-C might strike within Trio, which would take it for a defect of its own.
        restrict_keyboard_interrupt_to_checkpoints=True,
    )


async def _watch(
    url: str,
    gathering_id: str,
    since: int | None,
    count: int | None,
    as_json: bool,
    token: str | None,
    headers: tuple[tuple[str, str], ...],
) -> None:
    async with (
        open_client(url, token=token, headers=dict(headers)) as client,
        client.join(gathering_id, behaviour=None, since=since) as gathering,
        _time_left(gathering, shown=is_terminal(sys.stderr) and not as_json),
        _warnings(gathering, as_json),
    ):
        seq, left = gathering.seq, gathering.expires_in or 0.0
        if as_json:
            # JSON has no infinity. The protocol says null, too.
            expires_in = None if math.isinf(left) else left
            print_json(type="joined", gathering=gathering_id, seq=seq, expires_in=expires_in)
        else:
            _say(f"joined {gathering_id} at seq {seq}; unused, it {_disperses(left)}")
        printed = 0
        async with aclosing(_changes(gathering, as_json)) as changes:
            async for change in changes:
                if as_json:
                    print_json(type="op", seq=change.seq, by=change.by, op=change.op)
                else:
                    by = "-" if change.by is None else printable(change.by)
                    _say(f"{change.seq}  {by}  {printable(change.op)}")
                printed += 1
                if printed == count:
                    return
        notice = gathering.dispersed
        assert notice is not None
        if as_json:
            print_json(
                type="dispersed", reason=notice.reason, seq=notice.seq, idle_for=notice.idle_for
            )
        else:
            reason = printable(notice.reason).strip('"')
            unused = format_duration(notice.idle_for)
            _say(f"dispersed ({reason}) at seq {notice.seq}, unused for {unused}")


async def _look_back(
    url: str,
    gathering_id: str,
    since: int | None,
    at: Point,
    as_json: bool,
    token: str | None,
    headers: tuple[tuple[str, str], ...],
) -> None:
    when = at.seq
    if when is None:
        assert at.time is not None
        instant = datetime.fromtimestamp(at.time / 1000, UTC)
    async with (
        open_client(url, token=token, headers=dict(headers)) as client,
        client.join(gathering_id, behaviour=None, times=True) as gathering,
    ):
        page = await gathering.fetch(at=instant if when is None else when, since=since)
        if page.is_snapshot:
            if as_json:
                print_json(type="state", seq=page.seq, state=page.snapshot)
            else:
                _say(printable(page.snapshot))
            return
        after = since or 0
        while page.ops:
            after = after if page.first_seq is None else page.first_seq - 1
            for one, by, time in zip(page.ops, page.by, page.times, strict=True):
                after += 1
                if as_json:
                    print_json(type="op", seq=after, by=by, op=one.value, time=time)
                else:
                    _say(f"{after}  {'-' if by is None else printable(by)}  {printable(one.value)}")
            if after >= page.seq:
                return
            page = await gathering.fetch(at=page.seq, since=after)


async def _changes(gathering: Gathering, as_json: bool) -> AsyncGenerator[Change, None]:
    """Yield what happens, also in a log that replaces the known one."""
    while True:
        try:
            yield await anext(gathering)
        except StopAsyncIteration:
            return
        except LogReplaced:
            if as_json:
                print_json(type="replaced")
            else:
                _say("the log was replaced; this is the new one")


@asynccontextmanager
async def _warnings(gathering: Gathering, as_json: bool) -> AsyncIterator[None]:
    """Print that the end is near, or was put off, while the block runs."""
    async with open_hidden_nursery() as nursery:
        nursery.start_soon(_print_warnings, gathering, as_json)
        try:
            yield
        finally:
            nursery.cancel_scope.cancel()


async def _print_warnings(gathering: Gathering, as_json: bool) -> None:
    known: EndingSoon | None = None
    with suppress(GatheringsError):
        # What ends the stay for good is told by those who wait for changes.
        while True:
            ending = await gathering.wait_ending(other_than=known)
            if ending is not None:
                left = ending.left
                if as_json:
                    print_json(type="ending", rule=ending.rule, expires_in=left)
                else:
                    rule = printable(ending.rule).strip('"')
                    _say(f"ending ({rule}): {_disperses(left)}")
            elif known is not None and gathering.is_connected:
                if as_json:
                    print_json(type="ending", rule=known.rule, expires_in=None)
                else:
                    _say("not ending any more")
            known = ending


@asynccontextmanager
async def _time_left(gathering: Gathering, *, shown: bool) -> AsyncIterator[None]:
    """Show the time left on the last line of the terminal, while the block runs."""
    if not shown:
        yield
        return
    try:
        async with open_hidden_nursery() as nursery:
            nursery.start_soon(_show_time_left, gathering)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()
    finally:
        _show("")


async def _show_time_left(gathering: Gathering) -> None:
    while True:
        left = gathering.expires_in if gathering.is_connected else None
        _show("not connected" if left is None else _disperses(left))
        await trio.sleep(1)


def _show(text: str) -> None:
    with printing():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _say(line: str) -> None:
    # The terminal's last line shows the time left: this line replaces it.
    both = is_terminal(sys.stderr) and is_terminal(sys.stdout)
    print_line(f"\r\x1b[K{line}" if both else line)


def _disperses(seconds: float) -> str:
    if math.isinf(seconds):
        return "never disperses"
    return f"disperses in {format_duration(round(seconds) if seconds >= 1 else seconds)}"
