"""Throughput against the number of gatherings and clients, up to what one machine takes.

One message of 200 bytes at a time in each gathering; the server has one process, the client another
(that of `benchmarks.peers`). Where the client's CPU share nears 100 % the figure is a lower bound.
"""

import argparse
import json
from pathlib import Path
from statistics import median

from benchmarks.peers.__main__ import measure
from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.scenarios import SCALE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement")
    parser.add_argument("--json", type=Path, help="write all results to this file")
    options = parser.parse_args()
    [ours] = [peer for peer in PEERS if peer.key == "ours"]
    results: dict[str, list[dict[str, float]]] = {one.name: [] for one in SCALE}
    for _ in range(options.rounds):
        for scenario in SCALE:
            results[scenario.name].append(measure(ours, scenario, options.seconds))
    print("                       a second  us each  server CPU  client CPU")
    for name, rounds in results.items():
        rate, server, client = (
            median(one[key] for one in rounds) for key in ("rate", "server_cpu", "client_cpu")
        )
        print(f"{name:20} {rate:10,.0f} {1e6 * server / rate:8.1f} {server:11.0%} {client:11.0%}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
