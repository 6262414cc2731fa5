"""The picture: how much of an offered load is served, and what it costs the innocent visitor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from benchmarks.overload.__main__ import Row

mpl.rcParams["svg.fonttype"] = "none"

OURS, OFFERED, OTHER = "#0b6e4f", "#b0b0b0", "#5b8db8"


def draw(rows: Sequence[Row], capacity: float, to: Path) -> None:
    """Draw three panels over the load to an SVG or PNG file."""
    loads = [row.load for row in rows]
    figure, (throughput, times, memory) = plt.subplots(
        1, 3, figsize=(13, 3.6), layout="constrained"
    )
    throughput.plot(loads, [row.offered / 1000 for row in rows], color=OFFERED, label="offered")
    throughput.plot(
        loads, [row.served / 1000 for row in rows], color=OURS, marker="o", label="served"
    )
    throughput.set_ylim(0)
    throughput.axhline(capacity / 1000, color=OFFERED, linewidth=0.8, linestyle=":")
    throughput.set_title("thousand syncs a second", loc="left", fontsize=10, fontweight="bold")
    for name, values, color in (
        ("sync → synced, p99", [row.p99 for row in rows], OTHER),
        ("a visitor's, p99", [row.visitor_p99 for row in rows], OURS),
        ("endings late, latest", [max(row.latest, 1e-4) for row in rows], "black"),
    ):
        times.plot(loads, [1000 * value for value in values], color=color, marker="o", label=name)
    times.set_yscale("log")
    times.set_ylim(1)
    times.set_title("milliseconds", loc="left", fontsize=10, fontweight="bold")
    memory.plot(loads, [row.memory for row in rows], color=OURS, marker="o", label="MiB of memory")
    memory.set_ylim(0)
    memory.set_title("MiB of memory", loc="left", fontsize=10, fontweight="bold")
    for axes in (throughput, times, memory):
        axes.set_xlabel("times what it can take", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    throughput.legend(fontsize=8, frameon=False)
    times.legend(fontsize=8, frameon=False)
    figure.savefig(to)
    plt.close(figure)
