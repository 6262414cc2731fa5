"""The picture: a bar for each server, a panel for each scenario."""

from pathlib import Path
from statistics import median

import matplotlib as mpl

from benchmarks.peers.catalogue import Peer

mpl.use("Agg")

from matplotlib import pyplot as plt

mpl.rcParams["svg.fonttype"] = "none"

OURS, FLOOR, PEER = "#0b6e4f", "#b0b0b0", "#5b8db8"


def draw(
    results: dict[str, dict[str, list[dict[str, float]]]], peers: dict[str, Peer], to: Path
) -> None:
    """Draw medians, with the range of the rounds as a line, to an SVG or PNG file."""
    panels = {name: keys for name, keys in results.items() if keys}
    columns = 2
    rows = -(-len(panels) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(13, 0.6 + 2.9 * rows), squeeze=False, layout="constrained"
    )
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (name, measured) in zip(grid.flat, panels.items(), strict=False):
        by_peer = dict(measured)
        without_disk = results.get(name.removesuffix(", durable"), {}).get("ours")
        if without_disk:
            by_peer["ours"] = without_disk
        order = sorted(by_peer, key=lambda key: median(one["rate"] for one in by_peer[key]))
        for place, key in enumerate(order):
            rates = [one["rate"] / 1000 for one in by_peer[key]]
            color = OURS if peers[key].ours else FLOOR if key == "bare" else PEER
            axes.barh(place, median(rates), color=color)
            axes.plot([min(rates), max(rates)], [place, place], color="black", linewidth=1)
        axes.set_yticks(range(len(order)), [peers[key].title for key in order], fontsize=8)
        axes.set_ylim(-0.6, max(len(order), 4) - 0.4)
        axes.set_title(name, loc="left", fontsize=10, fontweight="bold")
        axes.set_xlabel("thousand a second", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(to)
    plt.close(figure)
