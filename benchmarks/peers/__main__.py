"""The runner: interleaves peers and scenarios, several rounds, and shows medians and ratios."""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.peers.catalogue import PEERS, Peer, missing, running
from benchmarks.peers.picture import draw
from benchmarks.peers.scenarios import ALL, Scenario
from benchmarks.peers.targets import show_targets

Results = dict[str, dict[str, list[dict[str, float]]]]
"""By scenario and peer: the results of the rounds."""

PACKAGES = ("trio", "trio-websocket", "wsproto", "websockets", "uvloop", "picows")


def measure(peer: Peer, scenario: Scenario, seconds: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, running(peer, Path(folder)) as (url, server):
        command = [sys.executable, "-m", "benchmarks.peers.client", url, peer.dialect]
        command += [scenario.name, "--seconds", str(seconds), "--server", str(server.pid)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise RuntimeError(f"{peer.title}: {scenario.name}:\n{done.stderr.strip()[-100:]}")
        result: dict[str, float] = json.loads(done.stdout)
        return result


def run(
    peers: list[Peer], scenarios: list[Scenario], rounds: int, seconds: float, console: Console
) -> Results:
    results: Results = {s.name: defaultdict(list) for s in scenarios}
    total = rounds * sum(p.takes_part(s) for p in peers for s in scenarios)
    count = 0
    for _ in range(rounds):
        for scenario in scenarios:
            for peer in peers:
                if not peer.takes_part(scenario):
                    continue
                count += 1
                console.print(f"{count}/{total} {scenario.name}: {peer.title}", style="dim")
                try:
                    result = measure(peer, scenario, seconds)
                except (RuntimeError, subprocess.TimeoutExpired) as error:
                    console.print(f"failed: {str(error)[-300:]}", style="red", markup=False)
                    continue
                results[scenario.name][peer.key].append(result)
    return results


def rate(results: Results, scenario: str, key: str) -> float | None:
    """Return the median of the rounds."""
    rounds = results.get(scenario, {}).get(key)
    return median(one["rate"] for one in rounds) if rounds else None


def show(results: Results, peers: list[Peer], scenarios: list[Scenario], console: Console) -> None:
    by_key = {peer.key: peer for peer in peers}
    for scenario in scenarios:
        rates = {key: rate(results, scenario.name, key) for key in by_key}
        others = [r for key, r in rates.items() if r and not by_key[key].ours and key != "bare"]
        best = max(others, default=None)
        table = Table(title=scenario.name, title_justify="left", title_style="bold")
        table.add_column("server")
        unit = "answers/s" if scenario.kind == "echo" else "deliveries/s"
        for column in (unit, "x best peer", "x bare", "server CPU", "client CPU"):
            table.add_column(column, justify="right")
        for key, value in sorted(rates.items(), key=lambda item: -(item[1] or 0)):
            if value is None:
                continue
            rounds = results[scenario.name][key]
            bare = rates.get("bare")
            table.add_row(
                by_key[key].title,
                f"{value:,.0f}",
                f"{value / best:.2f}" if best else "",
                f"{value / bare:.2f}" if bare else "",
                f"{median(one['server_cpu'] for one in rounds):.0%}",
                f"{median(one['client_cpu'] for one in rounds):.0%}",
                style="bold" if by_key[key].ours else None,
            )
        console.print(table)
    show_targets(lambda name, key: rate(results, name, key), console)
    table = Table(title="What they don't do", title_justify="left", title_style="bold")
    table.add_column("server")
    table.add_column("doesn't")
    for peer in peers:
        table.add_row(peer.title, peer.lacks)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.peers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement")
    parser.add_argument("--quick", action="store_true", help="one round of half a second")
    parser.add_argument("--peers", nargs="*", choices=[peer.key for peer in PEERS])
    parser.add_argument("--only", nargs="*", help="scenarios whose name contains one of these")
    parser.add_argument("--json", type=Path, help="write all results to this file")
    parser.add_argument("--picture", type=Path, help="draw them to this file (SVG or PNG)")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 0.5
    console = Console(width=None if sys.stdout.isatty() else 110)
    peers = [peer for peer in PEERS if not options.peers or peer.key in options.peers]
    for peer in tuple(peers):
        why = missing(peer)
        if why is not None:
            console.print(f"without {peer.title}: {why}", style="yellow")
            peers.remove(peer)
    scenarios = [
        one for one in ALL if not options.only or any(part in one.name for part in options.only)
    ]
    if not scenarios:
        parser.error("--only names no scenario")
    results = run(peers, scenarios, options.rounds, options.seconds, console)
    show(results, peers, scenarios, console)
    if options.json:
        about = {
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "rounds": options.rounds,
            "seconds": options.seconds,
            "versions": {name: version(name) for name in PACKAGES},
        }
        options.json.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")
    if options.picture:
        draw(results, {peer.key: peer for peer in peers}, options.picture)


if __name__ == "__main__":
    main()
