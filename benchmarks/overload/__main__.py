"""Overload: what happens when clients offer a server three times as much as it can take.

First it finds what the server takes: senders whose windows are always full, for a few seconds.
Then, at each load, there are a server of its own, with a file of its own; a process of senders that
go by the clock; and a visitor that isn't to blame, whose syncs and whose gatherings' ends are
measured. After the load the visitor goes on, until it is served as before.

It exits with 1 if the server's memory went over its limit, if a gathering's end was late by more
than `LATEST`, or if the server hadn't recovered after `RECOVERED` seconds.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import psutil  # type: ignore[import-untyped]
from attrs import define, field, frozen

from benchmarks.overload.picture import draw
from tests.cli.process import serving

LOADS = (0.5, 1.0, 1.5, 2.0, 3.0)
IDLE_TIMEOUT = 2.0
MEMORY = 256
"""The server's `--max-memory`, in MiB."""
BESIDES = 256
"""The MiB that a process may use besides what that limit counts (docs/security.md)."""
LATEST = 1.0
RECOVERED = 5.0
CALM, CALM_PROBES = 0.05, 10
"""The server has recovered at the first of this many probes in a row that are quick enough."""
CONNECTIONS = 200
WARM = 1.0


@frozen
class Row:
    """What one load did."""

    load: float
    offered: float
    """Syncs a second that were due."""
    held_back: float
    """Syncs a second that senders held back, since too many others weren't answered."""
    served: float
    p50: float
    """Seconds from when a sync was due until it was answered."""
    p99: float
    visitor_p50: float
    visitor_p99: float
    late_p99: float
    """Seconds by which gatherings ended too late."""
    latest: float
    decided: float
    """The latest of them by the server's clock, in seconds: the rest is the way to the visitor."""
    endings: int
    refused_visits: int
    """The number of gatherings that the visitor couldn't open."""
    cpu: float
    """The server's share of a core: if it is far from 1, other processes had the core."""
    memory: float
    """The most memory that the process used, in MiB."""
    recovered: float
    """Seconds after the load until the visitor was served as before."""
    refused: dict[str, int]


@define(eq=False)
class Watch:
    """What the visitor reports, and how much memory the server uses, while both are watched."""

    told: list[tuple[float, str, float]] = field(factory=list)
    most: float = 0.0

    def between(self, what: str, begin: float, end: float) -> list[float]:
        return sorted(took for at, kind, took in self.told if kind == what and begin <= at < end)


def senders(url: str, rate: float, seconds: float, warm: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.overload.senders", url, "--rate", str(rate)]
    command += ["--connections", str(CONNECTIONS), "--seconds", str(seconds), "--warm", str(warm)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def result_of(process: subprocess.Popen[str]) -> tuple[float, dict[str, Any]]:
    """Return when the senders stopped, and what they counted."""
    assert process.stdout is not None
    process.stdout.readline()
    stopped = time.time()
    found: dict[str, Any] = json.loads(process.stdout.readline())
    process.wait()
    return stopped, found


@contextmanager
def watching(url: str, server: int) -> Iterator[Watch]:
    command = [sys.executable, "-m", "benchmarks.overload.visitor", url]
    watch = Watch()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:

        def listen() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                at, what, took = json.loads(line)
                watch.told.append((at, what, took))
                watch.most = max(watch.most, psutil.Process(server).memory_info().rss / 2**20)

        listener = Thread(target=listen)
        listener.start()
        try:
            yield watch
        finally:
            process.kill()
            listener.join()


@contextmanager
def a_server(options: Sequence[str]) -> Iterator[tuple[int, str]]:
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(
            *("--store", f"sqlite:///{Path(folder) / 'overload.sqlite3'}"),
            *("--idle-timeout", f"{IDLE_TIMEOUT:g}s", "--max-memory", f"{MEMORY}MiB"),
            *options,
        ) as (process, url),
    ):
        yield process.pid, url


def capacity(options: Sequence[str], seconds: float) -> float:
    """Return how many syncs a second are answered when the senders' windows are always full."""
    with a_server(options) as (_, url):
        _, found = result_of(senders(url, 1e6 / 20, seconds, 2.0))
    return float(found["served"])


def measure(load: float, rate: float, options: Sequence[str], seconds: float) -> Row:
    with a_server(options) as (pid, url), watching(url, pid) as watch:
        before = cpu_seconds(pid)
        process = senders(url, rate, seconds, WARM)
        stopped, found = result_of(process)
        used = cpu_seconds(pid) - before
        begin = stopped - seconds
        recovered = wait_for_calm(watch, stopped)
        # By now all gatherings that were opened under the load have been due.
        time.sleep(max(0.0, IDLE_TIMEOUT + LATEST - (time.time() - stopped)))
        probes = watch.between("probe", begin, stopped) or [float("inf")]
        late = watch.between("late", begin, stopped + IDLE_TIMEOUT) or [float("inf")]
    return Row(
        load,
        found["offered"],
        found["held_back"],
        found["served"],
        found["p50"],
        found["p99"],
        probes[len(probes) // 2],
        probes[len(probes) * 99 // 100],
        late[len(late) * 99 // 100],
        late[-1],
        (watch.between("decided", begin, stopped + IDLE_TIMEOUT) or [float("inf")])[-1],
        len(late),
        len(watch.between("refused", begin, stopped + IDLE_TIMEOUT)),
        used / (seconds + WARM),
        watch.most,
        recovered,
        dict(Counter(found["refused"]).most_common()),
    )


def cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def wait_for_calm(watch: Watch, since: float) -> float:
    """Return how many seconds it took; wait at most four times as long as it may take."""
    while time.time() - since < 4 * RECOVERED:
        time.sleep(0.1)
        calm, first = 0, since
        for at, what, took in list(watch.told):
            if what == "probe" and at >= since:
                calm = calm + 1 if took <= CALM else 0
                first = at if calm == 1 else first
                if calm == CALM_PROBES:
                    return first - since
    return float("inf")


def show(rows: Sequence[Row]) -> None:
    print(
        "| load | offered/s | held back/s | served/s | p50 / p99 of those | the visitor's p50 / p99"
        " | endings: p99 / latest, as decided | visits refused | CPU"
        " | memory | recovered after | refused |"
    )
    print("| " + " | ".join(["---:"] * 11) + " | --- |")
    for row in rows:
        refused = ", ".join(f"{what}: {times}" for what, times in row.refused.items())
        print(
            f"| {row.load:g} | {row.offered:,.0f} | {row.held_back:,.0f} | {row.served:,.0f}"
            f" | {milliseconds(row.p50)} / {milliseconds(row.p99)} ms"
            f" | {milliseconds(row.visitor_p50)} / {milliseconds(row.visitor_p99)} ms"
            f" | {milliseconds(row.late_p99)} / {milliseconds(row.latest)},"
            f" {milliseconds(row.decided)} ms of {row.endings}"
            f" | {row.refused_visits} | {row.cpu:.2f}"
            f" | {row.memory:.0f} MiB | {row.recovered:.2f} s | {refused or 'none'} |",
            flush=True,
        )


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:,.1f}" if seconds < 0.1 else f"{1000 * seconds:,.0f}"


def wrong(rows: Sequence[Row]) -> list[str]:
    """Return which promises were broken."""
    found: list[str] = []
    for row in rows:
        if row.memory > MEMORY + BESIDES:
            found.append(f"{row.load:g}: {row.memory:.0f} MiB of memory")
        if not row.decided <= LATEST:
            found.append(f"{row.load:g}: an end was {row.decided:.2f} s late")
        if not row.recovered <= RECOVERED:
            found.append(f"{row.load:g}: it recovered after {row.recovered:.1f} s")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load")
    parser.add_argument("--loads", type=float, nargs="+", default=LOADS, help="times the capacity")
    parser.add_argument("--capacity", type=float, help="syncs a second, where it is known")
    parser.add_argument("--rate-limit", help="the server's: messages a second of each address")
    parser.add_argument("--picture", type=Path, help="an SVG or PNG file to draw")
    options = parser.parse_args()
    limits = ["--rate-limit", options.rate_limit] if options.rate_limit else []
    most = options.capacity or capacity([], options.seconds)
    print(f"it takes {most:,.0f} syncs a second", flush=True)
    rows = [measure(load, load * most, limits, options.seconds) for load in options.loads]
    show(rows)
    if options.picture is not None:
        draw(rows, most, options.picture)
    complaints = wrong(rows)
    print("\n".join(complaints), file=sys.stderr)
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
