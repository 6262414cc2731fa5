"""Rules about ends: holds, more time, other rules, warnings, other settings, lifecycle events."""

from contextlib import suppress
from typing import Any

from hypothesis import strategies as st

from squire_gatherings import EndRuleOptions, GatheringsError, HallOptions
from squire_gatherings.testing import Trouble
from tests.system.rule import rooms, rule
from tests.system.store import EVENTS
from tests.system.world import World

TIMES: dict[str, st.SearchStrategy[Any]] = {
    "idle_timeout": st.sampled_from([8.0, 20.0, 33.0]),
    "empty_timeout": st.sampled_from([None, 0.0, 5.0]),
    "unjoined_timeout": st.sampled_from([None, 0.0, 4.0]),
    "alone_timeout": st.sampled_from([None, 6.0, 25.0]),
    "alone_clients": st.sampled_from([1, 2]),
    "max_age": st.sampled_from([None, 30.0]),
    "warn_before": st.sampled_from([None, 3.0, 12.0]),
}

LIMITS: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "max_gatherings": ("full", st.sampled_from([None, 1, 2])),
    "max_connections_per_gathering": ("full", st.sampled_from([None, 1, 3])),
    "max_connections_per_user": ("full", st.sampled_from([None, 1])),
    "max_events": ("full", st.sampled_from([1_000_000, 4, 9])),
    "max_log_ops": ("log_full", st.sampled_from([None, 2, 6])),
    "max_ops": ("too_big", st.sampled_from([1000, 1, 2])),
}
"""What may be had only so often, and the error of one that wants more."""

OTHERS: dict[str, st.SearchStrategy[Any]] = {
    "tail_bytes": st.sampled_from([10_000, 60]),
    "batch_bytes": st.sampled_from([10_000, 150]),
    "recent_syncs": st.sampled_from([256, 1]),
    "snapshot_every": st.sampled_from([1, 3, 1000]),
    "inbox_limit": st.sampled_from([1, 4, 64]),
}


@rule(weight=2, room=rooms, seconds=st.sampled_from([None, 5.0, 25.0, 60.0]))
async def hall_holds(world: World, room: str, seconds: float | None) -> None:
    world.hold(room, seconds)


@rule(weight=2, room=rooms, seconds=st.sampled_from([0.5, 7.0, 30.0]))
async def hall_extends(world: World, room: str, seconds: float) -> None:
    if world.hall is not None:
        with suppress(GatheringsError):
            # What it is put off from is what holds before.
            world.hall.explain(room)
            world.truth.extended(room, seconds)
            world.hall.extend(room, seconds)


@rule(weight=2, room=rooms, changes=st.fixed_dictionaries({}, optional=TIMES))
async def rules_change(world: World, room: str, changes: EndRuleOptions) -> None:
    world.change_rules(room, changes)


@rule(weight=2, room=rooms, seconds=st.sampled_from([None, 0.0, 9.0, 40.0]))
async def end_is_fixed(world: World, room: str, seconds: float | None) -> None:
    """It ends at an instant of the wall clock."""
    at = None if seconds is None else world.wall() + seconds
    world.change_rules(room, {"ends_at": at})


@rule(room=rooms)
async def hall_warns(world: World, room: str) -> None:
    if world.hall is not None:
        with suppress(GatheringsError):
            world.truth.warned_anyway(room)
            world.hall.warn(room)


@rule(changes=st.fixed_dictionaries({}, optional=TIMES | OTHERS))
async def settings_change(world: World, changes: HallOptions) -> None:
    world.change_settings(changes)


@rule(changes=st.fixed_dictionaries({}, optional={name: one for name, (_, one) in LIMITS.items()}))
async def limits_change(world: World, changes: HallOptions) -> None:
    """Somebody is refused something, perhaps."""
    world.truth.limited |= {LIMITS[name][0] for name in changes}
    world.change_settings(changes)


@rule(weight=2, mood=st.sampled_from(EVENTS))
async def store_writes_events(world: World, mood: Trouble) -> None:
    world.store.events_go(mood)


@rule(times=st.sampled_from([0, 1, 3, 9]))
async def program_takes_no_events(world: World, times: int) -> None:
    world.refused_events = times
