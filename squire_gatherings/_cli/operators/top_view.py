"""How `top` looks: totals, gatherings, the last ends; within 80 columns and the screen's height."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from squire_gatherings._admin.api.end_shapes import End
from squire_gatherings._admin.api.shapes import Gathering, HallState
from squire_gatherings._cli.operators.names import shown
from squire_gatherings._cli.operators.top_state import KEYS, Top
from squire_gatherings._cli.operators.wording import count, span
from squire_gatherings._cli.units import format_size

AROUND = 8
"""How many lines there are besides those of gatherings and ends."""

SOON = 60.0
"""So many seconds before the end, a gathering is shown in another colour."""


def view(state: Top, *, at: float, height: int | None = None) -> Group:
    """Return all of it.

    Args:
        state: What is shown. It has a sample.
        at: Now, by the clock of the sample: countdowns go on between two of them.
        height: How many lines the screen has; None for no screen, which nobody presses keys at.
    """
    sample = state.sample
    assert sample is not None
    passed = max(0.0, at - sample.at)
    gatherings, ends = sample.listed.gatherings, sample.ended.endings
    if height is not None:
        ends = ends[: max(0, height - AROUND - 1)]
        gatherings = gatherings[: max(1, height - AROUND - len(ends))]
    parts: list[Text | Table] = [*_totals(state)]
    parts += [Text(""), _gatherings(state, gatherings, passed)]
    if ends:
        parts += [Text(""), _ends(ends, sample.ended.now + passed)]
    if height is not None:
        keys = " ".join(f"{key} {sort}" for key, sort in KEYS.items())
        parts.append(_line(f"{keys}  r reverse  q quit", style="dim"))
    return Group(*parts)


def _totals(state: Top) -> list[Text]:
    assert state.sample is not None
    hall, matched = state.sample.hall, state.sample.listed.matched
    up = span(max(0.0, hall.now - hall.started_at))
    first = f"squire_gatherings {shown(hall.version)}, up {up}, {shown(hall.store)}"
    if hall.closing:
        first += ", closing"
    rate = "" if state.total_rate is None else f" ({_number(state.total_rate)}/s)"
    ended = ", ".join(f"{shown(rule)} {many}" for rule, many in sorted(hall.ended.items()) if many)
    refused = ", ".join(
        f"{shown(limit)} {many}" for limit, many in sorted(hall.refused.items()) if many
    )
    lines = [
        _line(first, style="bold"),
        _line(
            f"{count(matched, 'gathering', 'gatherings')}{_asleep(hall)},"
            f" {count(hall.clients, 'client', 'clients')},"
            f" {count(hall.messages, 'message', 'messages')}{rate},"
            f" {format_size(hall.memory)}"
        ),
        _line(f"ended: {ended or 'none'}; refused: {refused or 'none'}"),
    ]
    if state.trouble is not None:
        lines[2] = _line(state.trouble, style="bold red")
    return lines


def _asleep(hall: HallState) -> str:
    many = hall.stages.get("asleep", 0)
    return f" ({many} asleep)" if many else ""


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _table() -> Table:
    return Table(
        box=None, expand=True, pad_edge=False, header_style="reverse", padding=(0, 1, 0, 0)
    )


def _gatherings(state: Top, gatherings: list[Gathering], passed: float) -> Table:
    assert state.sample is not None
    table, now = _table(), state.sample.listed.now + passed
    mark = "▲" if state.order.is_reversed else "▼"

    def head(sort: str | None, title: str) -> str:
        return title + mark if sort == state.order.sort else title

    table.add_column(head("id", "gathering"), ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column(head("deadline", "ends in"), justify="right", min_width=9, no_wrap=True)
    table.add_column(head("clients", "clients"), justify="right", no_wrap=True)
    table.add_column(head("messages", "msg/s"), justify="right", min_width=6, no_wrap=True)
    table.add_column(head("seq", "seq"), justify="right", min_width=7, no_wrap=True)
    table.add_column(head("opened", "age"), justify="right", min_width=7, no_wrap=True)
    for one in gatherings:
        left = None if one.ends_in is None else max(0.0, one.ends_in - passed)
        rate = state.rate(one)
        ends = "never" if left is None else span(left)
        is_soon = left is not None and left <= SOON
        table.add_row(
            Text(one.id),
            Text("ending" if one.stage == "ending" else ends, style="yellow" if is_soon else ""),
            str(one.clients),
            "asleep" if one.stage == "asleep" else "-" if rate is None else _number(rate),
            str(one.seq),
            span(max(0.0, now - one.opened_at)),
        )
    return table


def _ends(ends: list[End], now: float) -> Table:
    table = _table()
    table.add_column("last ends", ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("rule", no_wrap=True, min_width=8)
    table.add_column("late", justify="right", no_wrap=True, min_width=7)
    table.add_column("lived", justify="right", no_wrap=True, min_width=7)
    table.add_column("ended", justify="right", no_wrap=True, min_width=11)
    for one in ends:
        table.add_row(
            Text(one.id),
            Text(shown(one.reason)),
            "-" if one.lateness is None else _milliseconds(one.lateness),
            span(one.lifetime),
            f"{span(max(0.0, now - one.ended_at))} ago",
        )
    return table


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f}ms" if seconds < 1 else span(seconds)


def _number(number: float) -> str:
    return f"{number:.1f}" if number < 100 else f"{number:.0f}"
