"""The pytest plugin: fixtures for tests of a behaviour, on a virtual clock.

A project loads it in its `conftest.py`: `pytest_plugins = ["squire_gatherings.testing.plugin"]`. It
needs the extra `testing`: `pip install 'squire-gatherings[testing]'`.
"""

from collections.abc import AsyncIterator, Callable

import pytest
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
    autojump_clock: MockClock,
) -> AsyncIterator[HallUnderTest]:
    """Give a hall on a virtual clock."""
    async with open_test_hall(behaviour, store=store, **hall_settings) as found:
        yield found
