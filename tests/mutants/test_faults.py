"""All mutants fit the code as it is; the runner tells one that is found from one that isn't."""

from pathlib import Path

import pytest

from tests.mutants.faults import FAULTS
from tests.mutants.running import Outcome, run

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("name", FAULTS)
def test_a_mutant_fits(name: str) -> None:
    fault = FAULTS[name]
    fault.code()
    assert fault.old != fault.new
    for test in fault.tests:
        assert (TESTS / test).exists(), test


def test_there_are_enough() -> None:
    assert len(FAULTS) >= 40


def test_a_fault_is_found() -> None:
    assert run("retries come in ever the same interval", seconds=60).outcome is Outcome.KILLED


def test_a_fault_that_no_test_looks_at_survives() -> None:
    found = run("a retry counts as activity", ("rules/test_one_by_one.py",), seconds=60)
    assert found.outcome is Outcome.SURVIVED
