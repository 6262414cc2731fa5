"""Checks of gatherings that sleep: whether any falls asleep, and whether there is room for them."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from squire_gatherings._cli.doctor.findings import Finding, fail, ok, warn
from squire_gatherings._cli.setup import Setup
from squire_gatherings._cli.units import format_duration, format_size
from squire_gatherings._rules.budget import NO_GATHERINGS, SLEEPER_COST
from squire_gatherings._stores import is_postgres, sqlite_path
from squire_gatherings._stores.kept import read_sleeper
from squire_gatherings._stores.sqlite.read_only import open_for_a_moment
from squire_gatherings._stores.sqlite.schema import VERSION, schema_version
from squire_gatherings._values.errors import StoreUnusable
from squire_gatherings._values.settings import HallSettings
from squire_gatherings._values.sleep import Slept

MOST_AHEAD = 60.0
"""So many seconds after now may be what a file says of the past: clocks are set a little."""

CHECK = "sleep"


def check_sleep(setup: Setup, store: str, now: float) -> Iterator[Finding]:
    """Check those that sleep in a store, and whether others fall asleep; `now` is the time."""
    hall = setup.hall
    if hall.sleep_after is not None and hall.sleep_after >= hall.idle_timeout:
        after, idle = format_duration(hall.sleep_after), format_duration(hall.idle_timeout)
        says = f"nothing falls asleep after {after}, since it ends unused after {idle}"
        yield warn(CHECK, says, "make --sleep-after shorter than --idle-timeout")
    if store == "memory:" or is_postgres(store):
        return
    path = Path(sqlite_path(store)).resolve()
    try:
        found, broken = _who_sleeps(path) if path.is_file() else ([], 0)
    except (sqlite3.Error, StoreUnusable) as error:
        yield fail(CHECK, f"{path} can't be read: {error}", "squire-gatherings verify says more")
        return
    if broken:
        says = f"of {broken} gatherings that sleep, what {path} says can't be read"
        yield fail(
            CHECK, says, "the next start opens them anew; squire-gatherings verify says more"
        )
    if found:
        wrong = [*_wrong(hall, found, now, tells=setup.webhook is not None)]
        yield from wrong or [ok(CHECK, f"{len(found)} gatherings sleep, and have room")]


def _who_sleeps(path: Path) -> tuple[list[Slept], int]:
    """Return who sleeps, and of how many that can't be read. The file isn't changed."""
    found, broken = list[Slept](), 0
    with closing(open_for_a_moment(path)) as database:
        if schema_version(database) != VERSION:
            # The next start migrates it, or refuses it.
            return [], 0
        for row in database.execute("SELECT state, digest FROM sleepers"):
            try:
                found.append(read_sleeper(*row))
            except (ValueError, TypeError, msgspec.MsgspecError):
                broken += 1
    return found, broken


def _wrong(hall: HallSettings, found: list[Slept], now: float, *, tells: bool) -> Iterator[Finding]:
    many = f"{len(found)} gatherings sleep"
    most = hall.max_gatherings
    if most is not None and len(found) >= most:
        says = f"{many}, and --max-gatherings is {most}"
        yield fail(CHECK, f"{says}: no other can be opened", "raise --max-gatherings")
    memory, used = hall.max_memory, len(found) * SLEEPER_COST
    if memory is not None and used >= memory * NO_GATHERINGS:
        says = f"{many}, and take {format_size(used)} of {format_size(memory)} (--max-memory)"
        yield fail(CHECK, f"{says}: no other can be opened", "raise --max-memory")
    owed = sum(0 if one.state.life is None else one.state.life[1] for one in found)
    if tells and owed >= hall.max_events:
        says = f"{many}, for whose lifecycle events {owed} places are kept of {hall.max_events}"
        yield fail(CHECK, f"{says}: no other can be opened", "raise --max-events")
    ahead = max(one.state.last_processed_at for one in found) - now
    if ahead > MOST_AHEAD:
        says = f"one that sleeps was used {format_duration(round(ahead))} after now"
        do = "was the clock set back? They end by the clock: set it before the next start"
        yield warn(CHECK, says, do)
