"""The runner: one server after the other, and a table of each story."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

from attrs import asdict, frozen
from rich.console import Console
from rich.table import Table

from benchmarks.endings.catalogue import ENDERS, NEVER, Ender
from squire_gatherings._cli.limits import raise_open_files

STARTING = 20.0
"""How many seconds a server may take to start."""

RESOLUTION = {"idle": 0.0, "left": 1.0}
"""How many milliseconds a room may seem early: servers tell whole milliseconds."""


@frozen
class Endings:
    """How the rooms of one server ended. Times are in milliseconds."""

    rooms: int
    p50: float | None
    p99: float | None
    max: float | None
    """How late; None where no room ended."""
    early: int
    """How many ended before they were due."""
    earliest: float
    """How early the earliest of them was."""
    never: int
    """How many hadn't ended when it was given up."""
    told: dict[str, int]
    """How many clients were told before the connection closed, by the close code."""
    untold: int
    """How many connections closed without a close frame, or not at all."""


def judge(
    ender: Ender, stays: list[dict[str, float]], ended: dict[str, float], after: float
) -> Endings:
    """Judge what clients saw of their rooms, and what the server said of its rooms' ends."""
    late = []
    told: Counter[str] = Counter()
    for stay in stays:
        if ender.story == "left":
            at = ended.get(str(stay["room"]), 0.0)
        else:
            at = stay["told"] or stay["closed"]
            if stay["told"]:
                told[str(stay["code"])] += 1
        if at:
            late.append((at - ender.due(stay["said"], stay["left"], after)) * 1000)
    late.sort()
    early = [one for one in late if one < -RESOLUTION[ender.story]]
    return Endings(
        rooms=len(stays),
        p50=part(late, 0.5),
        p99=part(late, 0.99),
        max=part(late, 1.0),
        early=len(early),
        earliest=-early[0] if early else 0.0,
        never=len(stays) - len(late),
        told=dict(told),
        untold=len(stays) - told.total() if ender.story == "idle" else 0,
    )


def part(ordered: list[float], share: float) -> float | None:
    """Return a percentile of values in order (nearest rank); None without any."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None


def _listen(server: "subprocess.Popen[str]", ended: dict[str, float], urls: "Queue[str]") -> None:
    assert server.stdout is not None
    for line in server.stdout:
        words = line.split()
        if words[:1] == ["ended"]:
            ended.setdefault(words[1], float(words[2]) / 1000)
        elif "ws://" in line:
            urls.put(line[line.index("ws://") :].strip())


@contextmanager
def serving(ender: Ender, after: float) -> Iterator[tuple[str, dict[str, float]]]:
    """Start a server; give its URL, and when it ended which rooms, seconds since 1970."""
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/rooms.sqlite3"
        command = [word or store for word in ender.command] + [str(after)]
        ended: dict[str, float] = {}
        urls: Queue[str] = Queue()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as server:
            listener = Thread(target=_listen, args=(server, ended, urls), daemon=True)
            listener.start()
            try:
                try:
                    url = urls.get(timeout=STARTING)
                except Empty as error:
                    raise RuntimeError("the server says no URL") from error
                yield url, ended
            finally:
                server.kill()


def measure(ender: Ender, count: int, over: float, after: float, patience: float = 10.0) -> Endings:
    """Run one server and its clients. Raise `RuntimeError` if the clients fail."""
    with serving(ender, after) as (url, ended):
        command = [sys.executable, "-m", "benchmarks.endings.client", url, ender.dialect]
        command += [ender.story, "--count", str(count), "--over", str(over)]
        command += ["--patience", str(after + patience)]
        limit = 120 + over + after + patience
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as clients:
            try:
                out, errors = clients.communicate(timeout=limit)
            except subprocess.TimeoutExpired as error:
                clients.kill()
                raise RuntimeError("the clients took too long") from error
        if clients.returncode:
            raise RuntimeError(errors.strip()[-200:])
        if ender.story == "left":
            wait_for(ended, count, after + patience)
        return judge(ender, [json.loads(line) for line in out.splitlines()], ended, after)


def wait_for(ended: dict[str, float], count: int, seconds: float) -> None:
    """Wait until so many rooms have ended, or for so long."""
    until = time.monotonic() + seconds
    while len(ended) < count and time.monotonic() < until:
        time.sleep(0.05)


def show(found: dict[str, Endings], console: Console) -> None:
    """Print a table of each story."""
    for story in ("idle", "left"):
        table = Table(title=TITLES[story], title_justify="left", title_style="bold")
        table.add_column("server")
        columns = ["late: p50", "p99", "max, ms", "p99 x ours", "early", "never"]
        for column in columns + (["told, by code", "untold"] if story == "idle" else []):
            table.add_column(column, justify="right")
        ours = next(
            (
                found[one.key]
                for one in ENDERS
                if one.key in found and one.ours and one.story == story
            ),
            None,
        )
        for ender in ENDERS:
            if ender.story != story or ender.key not in found:
                continue
            one = found[ender.key]
            ratio = one.p99 / ours.p99 if one.p99 is not None and ours and ours.p99 else None
            row = [ender.title, *(_ms(value) for value in (one.p50, one.p99, one.max))]
            row += ["" if ratio is None else f"{ratio:.2f}"]
            row += [f"{one.early} ({one.earliest:.1f} ms)" if one.early else "0", str(one.never)]
            if story == "idle":
                told = ", ".join(f"{count:,}: {code}" for code, count in one.told.items())
                row += [told or "0", str(one.untold)]
            table.add_row(*row, style="bold" if ender.ours else None)
        if table.row_count:
            console.print(table)
    table = Table(title="What ends a room", title_justify="left", title_style="bold")
    table.add_column("server")
    table.add_column("what")
    for ender in ENDERS:
        if ender.key in found:
            table.add_row(f"{ender.title}, {ender.story}", ender.how)
    for title, why in NEVER.items():
        table.add_row(title, why)
    console.print(table)


TITLES = {
    "idle": "idle: a client says one thing and stays",
    "left": "left: a client says one thing and leaves",
}


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.endings")
    parser.add_argument("--count", type=int, default=10_000, help="rooms of each server")
    parser.add_argument("--after", type=float, default=30.0, help="seconds after which a room ends")
    parser.add_argument("--over", type=float, default=20.0, help="seconds in which clients come")
    parser.add_argument("--quick", action="store_true", help="200 rooms, within a second")
    parser.add_argument("--peers", nargs="*", choices=[one.key for one in ENDERS])
    parser.add_argument("--json", type=Path, help="write all results to this file")
    options = parser.parse_args()
    if options.quick:
        options.count, options.over, options.after = 200, 1.0, 2.0
    raise_open_files()
    console = Console(width=None if sys.stdout.isatty() else 120)
    found: dict[str, Endings] = {}
    for ender in ENDERS:
        if options.peers and ender.key not in options.peers:
            continue
        why = ender.missing()
        if why is not None:
            console.print(f"without {ender.title}: {why}", style="yellow")
            continue
        console.print(f"{ender.story}: {ender.title}", style="dim")
        try:
            found[ender.key] = measure(ender, options.count, options.over, options.after)
        except RuntimeError as error:
            console.print(f"failed: {error}", style="red", markup=False)
    show(found, console)
    if options.json:
        about = {"rooms": options.count, "after": options.after, "over": options.over}
        results = {key: asdict(one) for key, one in found.items()}
        options.json.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
