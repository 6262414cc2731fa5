"""The clock that continues while the machine sleeps."""

import math
import threading
import time

import pytest
import trio

from squire_gatherings import BootTimeClock, open_hall
from squire_gatherings._hall.clock import LONGEST_SLEEP, boot_time
from squire_gatherings._values.messages import Dispersed
from tests.support import Recorder


class Machine:
    """The time of a machine that sleeps now and then."""

    def __init__(self) -> None:
        self.slept = 0.0

    def now(self) -> float:
        return time.monotonic() + self.slept


def test_the_clock_never_sleeps_long_before_a_deadline() -> None:
    machine = Machine()
    one = BootTimeClock(machine.now)
    one.start_clock()
    now = one.current_time()
    assert one.deadline_to_sleep_time(math.inf) == math.inf
    assert one.deadline_to_sleep_time(now + 86_400) == LONGEST_SLEEP
    assert 0 < one.deadline_to_sleep_time(now + 0.5) <= 0.5
    machine.slept = 86_400
    assert one.deadline_to_sleep_time(now + 86_400) <= 0
    assert one.current_time() >= now + 86_400


def test_deadlines_pass_while_the_machine_sleeps() -> None:
    machine = Machine()

    async def live() -> tuple[str, float]:
        async with open_hall(idle_timeout=86_400) as hall:
            client = Recorder()
            await hall.join("friday-night", client)
            began = trio.current_time()
            machine.slept = 86_400.0
            await client.wait_closed()
            [notice] = client.of(Dispersed)
            return notice.reason, trio.current_time() - began

    reason, passed = trio.run(live, clock=BootTimeClock(machine.now))
    assert reason == "idle"
    assert 86_400 <= passed < 86_400 + 60


def test_a_sleeper_is_woken_when_the_machine_was() -> None:
    machine = Machine()

    async def sleep() -> float:
        # This thread tells Trio nothing.
        threading.Timer(0.05, suspend).start()
        began = trio.current_time()
        await trio.sleep(3600)
        return trio.current_time() - began

    def suspend() -> None:
        machine.slept = 3600.0

    real = time.monotonic()
    assert trio.run(sleep, clock=BootTimeClock(machine.now)) >= 3600
    assert time.monotonic() - real < 60


def test_other_systems_have_trios_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    assert abs(boot_time() - time.monotonic()) < 60
