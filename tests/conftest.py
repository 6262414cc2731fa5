"""What holds for every test."""

import gc
import signal
from collections.abc import Iterator

import pytest

from tests.chromium import open_session
from tests.postgres import Postgres, a_server


def pytest_configure() -> None:
    """Ignore SIGHUP under `nohup` so that the servers that tests start don't ignore it, too."""
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)


def pytest_collection() -> None:
    """Collect no garbage while tests are collected: there's none."""
    gc.disable()


pytest_plugins = ["squire_gatherings.testing.plugin"]


def pytest_collection_finish() -> None:
    """Exempt what was imported and collected: a full collection takes 0.2 s with it."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a browser's session (`tests.chromium`), which all tests with a page share."""
    with open_session(tmp_path_factory.mktemp("chromium")) as url:
        yield url


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server of PostgreSQL, which all tests of this process share (`tests.postgres`)."""
    with a_server() as server:
        yield server
