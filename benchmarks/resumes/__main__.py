"""The runner: one library after the other, and a table of who came back exact."""

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trio
from attrs import asdict, define, field
from rich.console import Console
from rich.table import Table

from benchmarks.resumes.catalogue import LIBRARIES, Library
from benchmarks.resumes.cuts import WHOLE, Cuts
from benchmarks.resumes.proxy import serve_proxy
from squire_gatherings._cli.limits import raise_open_files

SHARES = {"random": 0.5, "first": 0.2, "twice": 0.1, "ending": 0.1}
"""Which share of the cuts is made in which kind of room: rooms with two cuts count twice."""

STARTING = 20.0
"""Seconds that a server may take to start."""

LONGEST = 900.0
"""Seconds after which a library's run is given up."""


@define
class Kind:
    """What became of the listeners of one kind of room."""

    rooms: int = 0
    cuts: int = 0
    exact: int = 0
    faults: Counter[str] = field(factory=Counter)
    """How many listeners had which fault."""


def fault(room: str, heard: list[int], ended: bool, events: int) -> str | None:
    """Return what is wrong with what a listener heard; None if it is exact."""
    if heard == list(range(1, events + 1)):
        return None if ended or not room.startswith("ending") else "not told of the end"
    if set(heard) < set(range(1, events + 1)):
        return "events missing"
    return "events twice" if len(set(heard)) < len(heard) else "out of order"


def judge(told: list[dict[str, Any]], cuts: Cuts, events: int) -> dict[str, Kind]:
    """Judge what listeners told, by the kind of their rooms. Rooms that weren't cut don't count."""
    kinds: dict[str, Kind] = {}
    for one in told:
        room = one["room"]
        made = cuts.made.get(room, 0)
        if not made:
            continue
        kind = kinds.setdefault(room.partition("-")[0], Kind())
        kind.rooms += 1
        kind.cuts += made
        wrong = fault(room, one["heard"], one["ended"], events)
        if wrong is None:
            kind.exact += 1
        else:
            kind.faults[wrong] += 1
    return kinds


def rooms_of(library: Library, count: int) -> list[str]:
    """Return the names of rooms in which there are so many cuts in all."""
    shares = {kind: share for kind, share in SHARES.items() if library.ends or kind != "ending"}
    total = sum(share * (2 if kind == "twice" else 1) for kind, share in shares.items())
    names = [
        (number / rooms, f"{kind}-{number}")
        for kind, share in shares.items()
        for rooms in [max(1, round(count * share / total))]
        for number in range(rooms)
    ]
    return [name for _, name in sorted(names)]


@asynccontextmanager
async def serving(library: Library) -> AsyncIterator[str]:
    """Start a library's server, and give its URL."""
    async with trio.open_nursery() as nursery:
        start = partial(trio.run_process, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        process = await nursery.start(partial(start, library.server, check=False))
        assert process.stdout is not None
        said = b""
        with trio.fail_after(STARTING):
            while b"\n" not in said:
                data = await process.stdout.receive_some()
                if not data:
                    raise RuntimeError("the server ended")
                said += data
        nursery.start_soon(_drop, process.stdout)
        yield said.partition(b"\n")[0].decode().strip()
        nursery.cancel_scope.cancel()


async def _drop(stream: trio.abc.ReceiveStream) -> None:
    """Read what else a server says, so that it isn't held up."""
    while await stream.receive_some():
        pass


async def run_listeners(
    library: Library, urls: tuple[str, str], rooms: list[str], events: int, at_once: int
) -> list[dict[str, Any]]:
    """Have a process of authors and listeners go through these rooms; return what it told."""
    with trio.fail_after(LONGEST):
        done = await trio.run_process(
            [*library.listeners, *urls, str(events), str(GAP), str(at_once)],
            stdin="\n".join(rooms).encode(),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(done.stderr.decode().strip()[-300:])
    return [json.loads(line) for line in done.stdout.splitlines()]


async def measure(
    library: Library, count: int, events: int, at_once: int, seed: int
) -> dict[str, Kind]:
    """Run one library. Raise `RuntimeError` if one of its processes fails."""
    cuts = Cuts(seed)
    async with serving(library) as url, trio.open_nursery() as nursery:
        port = await nursery.start(serve_proxy, cuts, urlsplit(url).port)
        urls = (f"ws://127.0.0.1:{port}", url)
        [whole] = await run_listeners(library, urls, [WHOLE], events, 1)
        if fault(WHOLE, whole["heard"], whole["ended"], events):
            raise RuntimeError(f"without a cut it heard {whole['heard']}")
        told = await run_listeners(library, urls, rooms_of(library, count), events, at_once)
        nursery.cancel_scope.cancel()
    return judge(told, cuts, events)


GAP = 0.02
"""Seconds between two events of a room."""


def show(found: dict[str, dict[str, Kind]], console: Console) -> None:
    """Print the shares of listeners that came back exact."""
    table = Table(title="came back exact", title_justify="left", title_style="bold")
    table.add_column("library")
    for kind in (*SHARES, "all"):
        table.add_column(kind, justify="right")
    table.add_column("cuts", justify="right")
    table.add_column("what was wrong")
    for library in LIBRARIES:
        kinds = found.get(library.key)
        if not kinds:
            continue
        faults: Counter[str] = Counter()
        for one in kinds.values():
            faults.update(one.faults)
        rooms = sum(one.rooms for one in kinds.values())
        cells = [_share(kinds.get(kind)) for kind in SHARES]
        cells.append(_share(Kind(rooms, exact=sum(one.exact for one in kinds.values()))))
        wrong = ", ".join(f"{what}: {count:,}" for what, count in faults.items()) or "-"
        cuts = sum(one.cuts for one in kinds.values())
        style = "bold" if library.key == "ours" else None
        table.add_row(library.title, *cells, f"{cuts:,}", wrong, style=style)
    console.print(table)
    table = Table(title="What brings them back", title_justify="left", title_style="bold")
    table.add_column("library")
    table.add_column("what")
    for library in LIBRARIES:
        if library.key in found:
            table.add_row(library.title, library.exact)
    console.print(table)


def leaves(group: BaseExceptionGroup[Exception]) -> Iterator[BaseException]:
    """Yield the exceptions that are in a group, or in groups within it."""
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from leaves(one)
        else:
            yield one


def _share(kind: Kind | None) -> str:
    return "-" if kind is None or not kind.rooms else f"{100 * kind.exact / kind.rooms:.4g} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.resumes")
    parser.add_argument("--count", type=int, default=10_000, help="cuts of our own clients")
    parser.add_argument("--others", type=int, default=300, help="cuts of each other library's")
    parser.add_argument("--events", type=int, default=20, help="events in each room")
    parser.add_argument("--at-once", type=int, default=20, help="rooms that are open at once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="100 cuts of each")
    parser.add_argument("--peers", nargs="*", choices=[one.key for one in LIBRARIES])
    parser.add_argument("--json", type=Path, help="write all results to this file")
    options = parser.parse_args()
    if options.quick:
        options.count = options.others = 100
    raise_open_files()
    console = Console(width=None if sys.stdout.isatty() else 110)
    found: dict[str, dict[str, Kind]] = {}
    for library in LIBRARIES:
        if options.peers and library.key not in options.peers:
            continue
        why = library.missing()
        if why is not None:
            console.print(f"without {library.title}: {why}", style="yellow")
            continue
        console.print(library.title, style="dim")
        try:
            count = options.count if library.key == "ours" else options.others
            found[library.key] = trio.run(
                measure, library, count, options.events, options.at_once, options.seed
            )
        except* (RuntimeError, trio.TooSlowError) as group:
            why = "; ".join(str(error) or "it took too long" for error in leaves(group))
            console.print(f"failed: {why}", style="red", markup=False)
    show(found, console)
    if options.json:
        about = {
            "cuts": options.count,
            "others": options.others,
            "events": options.events,
            "seed": options.seed,
        }
        results = {
            key: {kind: asdict(one) for kind, one in kinds.items()} for key, kinds in found.items()
        }
        options.json.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
