"""Before and after: our own server as it is, next to an earlier revision, in one run.

Rounds of both alternate, each measured by its own `benchmarks.peers`. Prints the medians of the
rates and their ratio: `python -m benchmarks.before_after b8e5e45`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent.parent
Rates = dict[tuple[str, str], list[float]]


def measure(tree: Path, seconds: float, only: list[str], rates: Rates) -> None:
    """Add one round's rates in one tree."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "results.json")
        command = [sys.executable, "-m", "benchmarks.peers", "--rounds", "1"]
        command += ["--seconds", str(seconds), "--peers", "ours", "durable", "--json", str(out)]
        if only:
            command += ["--only", *only]
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        subprocess.run(command, cwd=tree, env=environment, check=True, stdout=subprocess.DEVNULL)
        results = json.loads(out.read_text())["results"]
    for scenario, by_peer in results.items():
        for peer, [one] in by_peer.items():
            rates[scenario, peer].append(one["rate"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revision", help="what to compare with, as git names it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement")
    parser.add_argument(
        "--only", nargs="*", default=[], help="scenarios whose name has one of these"
    )
    options = parser.parse_args()
    before: Rates = defaultdict(list)
    after: Rates = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder, "base")
        git = ["git", "-C", str(HERE), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", base, options.revision], check=True)
        try:
            for number in range(options.rounds):
                print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
                measure(base, options.seconds, options.only, before)
                measure(HERE, options.seconds, options.only, after)
        finally:
            subprocess.run([*git, "remove", "--force", base], check=True)
    print(f"{'scenario':46} {'server':8} {'before':>10} {'after':>10} ratio")
    for (scenario, peer), rates in after.items():
        earlier = before.get((scenario, peer))
        if earlier:
            old, new = median(earlier), median(rates)
            print(f"{scenario:46} {peer:8} {old:10,.0f} {new:10,.0f} {new / old:5.2f}")


if __name__ == "__main__":
    main()
