"""Before and after: our own server as it is, next to an earlier revision, in one run.

Rounds of both alternate, scenario by scenario, with the scenarios of `benchmarks.peers`. Prints
the medians of the rates, and of how much of a CPU the server takes for an answer or a delivery, and
the ratio of after to before of both: `python -m benchmarks.before_after b8e5e45`.

On a machine that does other things, the CPU time says more than the rate; it counts all threads.
A measurement that fails is left out, and said. Interrupted or terminated, it prints what it has.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from contextlib import chdir, suppress
from pathlib import Path
from statistics import median

from benchmarks.peers.__main__ import measure
from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.scenarios import ALL, Scenario

HERE = Path(__file__).resolve().parent.parent
Figures = dict[tuple[str, str], list[tuple[float, float]]]
"""By scenario and peer: the rate, and the microseconds of CPU time for each, of each round."""


def measure_in(tree: Path, scenario: Scenario, seconds: float, figures: Figures) -> None:
    """Add one round's figures of our own server, with and without a disk, in one tree."""
    with chdir(tree):
        for peer in PEERS:
            if peer.key in ("ours", "durable") and peer.takes_part(scenario):
                try:
                    one = measure(peer, scenario, seconds)
                except (RuntimeError, subprocess.TimeoutExpired) as error:
                    print(f"failed in {tree}: {error}", file=sys.stderr, flush=True)
                    continue
                cpu = one["server_cpu"] / one["rate"] * 1e6
                figures[scenario.name, peer.key].append((one["rate"], cpu))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revision", help="what to compare with, as git names it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement")
    parser.add_argument(
        "--only", nargs="*", default=[], help="scenarios whose name has one of these"
    )
    options = parser.parse_args()
    before: Figures = defaultdict(list)
    after: Figures = defaultdict(list)
    scenarios = [
        one for one in ALL if not options.only or any(part in one.name for part in options.only)
    ]
    # Servers and clients are those of the folder that they are started in.
    os.environ["PYTHONPATH"] = "."
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder, "base")
        git = ["git", "-C", str(HERE), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", base, options.revision], check=True)
        try:
            with suppress(KeyboardInterrupt):
                for number in range(options.rounds):
                    print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
                    for scenario in scenarios:
                        measure_in(base, scenario, options.seconds, before)
                        measure_in(HERE, scenario, options.seconds, after)
        finally:
            subprocess.run([*git, "remove", "--force", base], check=True)
    print(f"{'':50} {'rate':>29}  {'CPU us each':>21}")
    columns = f"{'before':>11} {'after':>11} ratio  {'before':>7} {'after':>7} ratio"
    print(f"{'scenario':42} {'server':7} {columns}")
    for (name, peer), figures in after.items():
        earlier = before.get((name, peer))
        if earlier:
            old, new = (median(rate for rate, _ in some) for some in (earlier, figures))
            line = f"{name:42} {peer:7} {old:11,.0f} {new:11,.0f} {new / old:5.2f}"
            old, new = (median(cpu for _, cpu in some) for some in (earlier, figures))
            print(f"{line}  {old:7.2f} {new:7.2f} {new / old:5.2f}")


if __name__ == "__main__":
    main()
