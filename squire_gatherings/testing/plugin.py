"""The pytest plugin: fixtures for tests of a behaviour, on a virtual clock.

A project loads it in its `conftest.py`: `pytest_plugins = ["squire_gatherings.testing.plugin"]`. It
needs the extra `testing`: `pip install 'squire-gatherings[testing]'`.
"""

from collections.abc import AsyncIterator, Callable

import pytest
import trio
from pytest_trio import trio_fixture
from trio.testing import MockClock

from squire_gatherings._rules.behaviour import Behaviour, LogBehaviour
from squire_gatherings._values.settings import HallOptions
from squire_gatherings.testing._hall import HallUnderTest, open_test_hall
from squire_gatherings.testing._store import FailingStore

__all__ = ["behaviour", "hall", "hall_settings", "store"]


@pytest.fixture
def behaviour() -> Callable[[], Behaviour]:
    """Return what makes the behaviour of `hall`: a test overrides this with its own."""
    return LogBehaviour


@pytest.fixture
def hall_settings() -> HallOptions:
    """Return the settings of `hall`: a test overrides this with its own."""
    return {}


@pytest.fixture
def store() -> FailingStore:
    """Return the store of `hall`: well, in memory, and failing on command."""
    return FailingStore()


@trio_fixture  # type: ignore[untyped-decorator]
async def hall(
    behaviour: Callable[[], Behaviour],
    hall_settings: HallOptions,
    store: FailingStore,
) -> AsyncIterator[HallUnderTest]:
    """Give a hall on a virtual clock: the test has the fixture `autojump_clock`, too.

    Raises `RuntimeError` where it hasn't.
    """
    if not isinstance(trio.lowlevel.current_clock(), MockClock):
        # pytest-trio runs a test on the clock among its own arguments, and on no fixture's.
        raise RuntimeError("a test with the fixture `hall` needs the fixture `autojump_clock`, too")
    async with open_test_hall(behaviour, store=store, **hall_settings) as found:
        yield found
