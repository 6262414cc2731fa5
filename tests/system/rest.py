"""Rest: all trouble ends, everybody comes back and gets everything, and nothing is left."""

import gc
from typing import TYPE_CHECKING, Any

import trio
from attrs import asdict

from squire_gatherings._hall.parts import observer_of
from squire_gatherings.testing import ENDLESS
from tests.system.presence import check_presence
from tests.system.setup import ROOMS

if TYPE_CHECKING:
    from tests.system.world import World

LAST_ROUNDS = 8
"""The most rounds in which clients come back whose requests crash a gathering."""


async def come_to_rest(world: "World") -> None:
    """End all trouble; check that everybody comes back, gets everything, and leaves."""
    for tap in world.taps:
        tap.link.stall(up=False, down=False)
    await world.settle()
    while world.hall is None:
        await world.open()
        await trio.sleep(1)
    rules = world.setup.rules
    world.store.heal()
    world.store.writes_events = world.store.writes_sleep = True
    world.terms.clear()
    world.refused_events = 0
    world.change_settings(world.setup.usual_settings())
    for room in ROOMS:
        world.hold(room, None)
        world.change_rules(room, asdict(rules))  # type: ignore[arg-type]
    for user in tuple(world.truth.denied):
        world.allow(user)
    for person in world.people:
        person.set_reading(True)
        await person.arrive()
    await trio.sleep(60)
    if any(person.here is None for person in world.people):
        # The log was just being deleted when it came, and it was told that it has another one.
        for person in world.people:
            await person.arrive()
        await trio.sleep(10)
    for _ in range(LAST_ROUNDS):
        for stranger in world.strangers:
            stranger.set_pongs(True)
            await stranger.join("all", room=ENDLESS, piece=65536)
            await trio.sleep(1)
            await stranger.ack()
        if not any(one.unanswered for one in world.strangers):
            break
    await _check_all_is_well(world)
    for person in world.people:
        await person.go()
    for stranger in world.strangers:
        await stranger.hang_up(politely=True)
    await trio.sleep(world.setup.rules.idle_timeout + 5)
    lives = world.truth.lives.values()
    latest = max((life.extended_to for life in lives), default=0.0)
    if any(life.has_slept_on for life in lives):
        # Its times are those of the wall clock before that was set back.
        latest = max(latest, trio.current_time()) + world.set_back
    # One that was held until an hour that a clock was set back from was to live for days.
    world.be_patient(latest)
    await trio.sleep_until(latest + 5)
    await world.settle()
    hall = world.hall
    assert hall is not None
    numbers = hall.snapshot()
    world.truth.check(hall.gatherings() == (), f"still there: {hall.gatherings()}")
    world.truth.check(numbers.clients == 0, f"still counted: {numbers}")
    stages = observer_of(hall).stages
    world.truth.check(not any(stages.values()), f"still counted: {stages}")
    retries = [name for name in +world.lives.tasks if name.startswith("retries")]
    world.truth.check(not retries, f"still there: {retries}")
    waiting = numbers.events.waiting if numbers.events is not None else 0
    world.truth.check(not waiting, f"events were never delivered: {numbers}")
    await world.close()
    if world.truth.events is not None and (wrong := world.truth.events.what_is_wrong()):
        world.truth.fault(wrong)


async def _check_all_is_well(world: "World") -> None:
    for person in world.people:
        if person.here is None:
            world.truth.fault(f"{person.name} can't come back")
            continue
        with trio.move_on_after(100) as patience:
            await person.here.rejoin()
        world.truth.check(not patience.cancelled_caught, f"{person.name} isn't let in")
    await trio.sleep(10)
    await world.settle()
    world.truth.settle()
    for person in world.people:
        person.has_everything()
    for stranger in world.strangers:
        left = stranger.unanswered if not stranger.is_observer else None
        world.truth.check(not left, f"{stranger.name}: not answered: {left}")
    for tap in world.taps:
        tap.quiet()
    check_presence(world)
    world.truth.check(not world.calling, f"{world.calling} calls never returned")
    for room in ROOMS:
        await _check_log(world, room)


async def _check_log(world: "World", room: str) -> None:
    assert world.hall is not None
    ops: list[Any] = []
    whole = world.truth.logs.now[room]
    left_out = whole.first_seq - 1
    log = [one.op for one in whole.ops[left_out:]]
    while True:
        page = await world.hall.fetch(room, since=left_out + len(ops) if ops else 0)
        world.truth.used(room)
        world.truth.visited(room)
        first_seq = page.first_seq or 1
        what = f"{room}: begins with {first_seq}, not {whole.first_seq}"
        world.truth.check(ops or first_seq == whole.first_seq, what)
        ops += [op.value for op in page.ops]
        if left_out + len(ops) >= page.seq or not page.ops:
            break
    world.truth.check(ops == log, f"{room}: fetched {ops}, not {log}")


def check_nothing_is_left(world: "World") -> None:
    """Check that nothing refers to what was, and that no task runs."""
    truth = world.truth
    truth.check(not truth.lives, f"incarnations are left: {truth.lives}")
    truth.check(not world.lives.running, f"tasks are left: {+world.lives.tasks}")
    if any(one() is not None for one in world.made):
        gc.collect()
    left = [one() for one in world.made if one() is not None]
    truth.check(not left, f"still referred to: {left}")
