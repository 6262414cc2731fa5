"""A plugin of pytest: the package is the mutant that the environment names.

`-p tests.mutants.plugin` comes before the plugins of `tests/conftest.py`, which import the package.
A test that doesn't end has found the mutant, too: the process says which one it is, and is over.
"""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.mutants.faults import FAULTS
from tests.mutants.running import HANGS, LONGEST, VARIABLE
from tests.mutating import change_imports

change_imports(FAULTS[os.environ[VARIABLE]])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """End the process if a test takes too long."""

    def give_up(*_: object) -> None:
        os.write(2, f"\nHANGS {item.nodeid}\n".encode())
        os._exit(HANGS)

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LONGEST)
    try:
        return (yield)
    finally:
        signal.alarm(0)
