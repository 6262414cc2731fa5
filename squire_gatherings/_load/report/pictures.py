"""The pictures of a report, as SVG that takes its colours from the page's style."""

import re
from collections.abc import Callable, Sequence
from io import StringIO
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from squire_gatherings._load.checks.incarnation import Dispersal
from squire_gatherings._load.report.report import Report

# Drawn in these colours, which then become the page's own, so that they follow light and dark.
INK, GRID, ONE, TWO, THREE = "#010101", "#020202", "#030303", "#040404", "#050505"
_VARIABLES = {
    INK: "var(--ink)",
    GRID: "var(--grid)",
    ONE: "var(--one)",
    TWO: "var(--two)",
    THREE: "var(--three)",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["system-ui", "DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
}
SIZE = (5.8, 3.0)
MAX_POINTS = 1500
MIB = 1024 * 1024

Axes = Any


def pictures(report: Report) -> list[tuple[str, str, str]]:
    """Return title, caption and SVG of each picture that there are figures for."""
    drawn: list[tuple[str, str, Callable[[Axes], None]]] = []
    if any(one.forward for one in report.seconds):
        caption = "Sync to forward, each second, on a logarithmic scale."
        drawn.append(("Latency over time", caption, lambda axes: _latency(axes, report)))
        caption = "How long the slowest 10 %, 1 %, 0.1 % … took."
        drawn.append(("Latency by percentile", caption, lambda axes: _percentiles(axes, report)))
        caption = "Ops acknowledged and forwards received, each second."
        drawn.append(("Throughput", caption, lambda axes: _throughput(axes, report)))
    if report.dispersals:
        caption = "Each dot is the end of a gathering: when its notice came minus when it was due."
        drawn.append(("Dispersal lateness", caption, lambda axes: _lateness(axes, report)))
    if report.seconds:
        caption = "How many gatherings have clients, and how many clients there are."
        drawn.append(("Live gatherings", caption, lambda axes: _alive(axes, report)))
    if report.memory_samples:
        caption = "Resident memory of the server. Shaded: the audit, when all came once more."
        drawn.append(("Server's memory", caption, lambda axes: _memory(axes, report)))
    return [
        (title, caption, _draw(draw, f"{title} {report.started}")) for title, caption, draw in drawn
    ]


def _draw(draw: Callable[[Axes], None], salt: str) -> str:
    """Draw one picture. Several of them on one page mustn't share ids.

    Those that are referred to are salted; the others are of no use.
    """
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": salt}):
        figure = Figure(figsize=SIZE, layout="constrained")
        draw(figure.add_subplot())
        out = StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", svg)
    svg = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", svg)
    referred = set(re.findall(r"#([\w.-]+)[\")]", svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in referred else "", svg)
    for drawn_in, variable in _VARIABLES.items():
        svg = svg.replace(drawn_in, variable)
    return svg


def _latency(axes: Axes, report: Report) -> None:
    timed = [(one.at + 0.5, one.forward) for one in report.seconds if one.forward]
    times = [at for at, _ in timed]
    axes.plot(times, [latency.max for _, latency in timed], color=THREE, label="max", lw=1.1)
    axes.plot(times, [latency.p99 for _, latency in timed], color=TWO, label="p99")
    axes.plot(times, [latency.p50 for _, latency in timed], color=ONE, label="p50")
    _log_milliseconds(axes)
    _over_time(axes, "ms")
    _legend(axes, 3)


def _percentiles(axes: Axes, report: Report) -> None:
    curves = (
        ("sync to forward", report.forward_curve, ONE),
        ("sync to synced", report.synced_curve, TWO),
    )
    for name, curve, color in curves:
        axes.plot(
            [100 / (100 - percentile) for percentile, _ in curve],
            [value for _, value in curve],
            color=color,
            label=name,
        )
    marks = {2: "50 %", 10: "90 %", 100: "99 %", 1000: "99.9 %", 10_000: "99.99 %"}
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(marks)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: marks.get(round(x), "")))
    axes.xaxis.set_minor_locator(NullLocator())
    _log_milliseconds(axes)
    axes.set_xlabel("percentile")
    axes.set_ylabel("ms")
    _legend(axes, 2)


def _throughput(axes: Axes, report: Report) -> None:
    times = [one.at + 0.5 for one in report.seconds]
    axes.plot(times, [one.forwards for one in report.seconds], color=ONE, label="forwards")
    axes.plot(times, [one.ops for one in report.seconds], color=TWO, label="ops")
    axes.set_ylim(bottom=0)
    _whole_numbers(axes)
    _over_time(axes, "per second")
    _legend(axes, 2)


def _lateness(axes: Axes, report: Report) -> None:
    chosen = _some(report.dispersals)
    times = [one.at for one in chosen]
    axes.scatter(
        times, [one.late * 1000 for one in chosen], s=7, color=ONE, label="by the clients' clock"
    )
    axes.scatter(
        times,
        [one.server_late * 1000 for one in chosen],
        s=7,
        color=TWO,
        label="by the server's clock",
    )
    axes.set_ylim(bottom=min(0.0, *(one.late * 1000 for one in chosen)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,g}"))
    _over_time(axes, "ms late", left=None)
    _legend(axes, 2)


def _alive(axes: Axes, report: Report) -> None:
    times = [one.at + 1 for one in report.seconds]
    axes.plot(times, [one.alive for one in report.seconds], color=ONE, label="gatherings (left)")
    axes.set_ylim(bottom=0)
    _whole_numbers(axes)
    _over_time(axes, "gatherings")
    other = axes.twinx()
    other.plot(
        times,
        [one.connected for one in report.seconds],
        color=TWO,
        label="clients (right)",
        ls=(0, (4, 3)),
    )
    other.set_ylim(bottom=0)
    other.grid(visible=False)
    _whole_numbers(other)
    lines = [*axes.lines, *other.lines]
    axes.legend(
        lines,
        [line.get_label() for line in lines],
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=2,
        handlelength=1.2,
    )


def _memory(axes: Axes, report: Report) -> None:
    times = [at for at, _ in report.memory_samples]
    axes.plot(times, [size / MIB for _, size in report.memory_samples], color=ONE)
    if report.memory is not None and report.memory.again is not None:
        axes.axvspan(report.ended_at, times[-1], color=GRID, alpha=0.45, lw=0)
    axes.set_ylim(bottom=0)
    _over_time(axes, "MiB")


def _some(dispersals: Sequence[Dispersal]) -> list[Dispersal]:
    """Return all, or where they are very many, some: the latest ones among them."""
    ordered = sorted(dispersals, key=lambda one: one.late, reverse=True)
    worst, others = ordered[: MAX_POINTS // 3], ordered[MAX_POINTS // 3 :]
    step = max(1, len(others) * 3 // (2 * MAX_POINTS))
    return [*worst, *others[::step]]


def _log_milliseconds(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_locator(NullLocator())
    low, high = axes.get_ylim()
    # At least a decade, so that there is a number to read.
    axes.set_ylim(10 ** _floor_log(low), max(high, 10 ** (_floor_log(low) + 1)))


def _floor_log(value: float) -> int:
    exponent = 0
    while 10**exponent > value:
        exponent -= 1
    while 10 ** (exponent + 1) <= value:
        exponent += 1
    return exponent


def _whole_numbers(axes: Axes) -> None:
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}"))


def _over_time(axes: Axes, label: str, *, left: float | None = 0.0) -> None:
    axes.set_xlim(left=left)
    axes.set_xlabel("seconds since the start")
    axes.set_ylabel(label)


def _legend(axes: Axes, columns: int) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, handlelength=1.2)
