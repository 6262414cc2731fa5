"""Running: the tests of one mutant, in a process of its own."""

import os
import re
import subprocess
import sys
import time
from enum import StrEnum
from pathlib import Path

from attrs import frozen

from tests.mutants.faults import FAULTS

ROOT = Path(__file__).parents[2]

PLUGIN = "tests.mutants.plugin"
VARIABLE = "SQUIRE_MUTANT"
"""Says to the plugin which mutant it is."""

LONGEST = 20
"""After so many seconds, a test hangs."""

ALL = 300.0
"""So many seconds, all tests of a mutant may take."""

NOTHING_FAILED, SOMETHING_FAILED, HANGS = 0, 1, 77
"""Exit codes: two of pytest, and one of `plugin`."""


class Outcome(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    HANGS = "hangs"
    """One of its tests doesn't end, which is found, too."""
    SURVIVED = "SURVIVED"
    BROKEN = "BROKEN"
    """Its tests can't even be run."""


@frozen
class Run:
    """How the tests of one mutant went."""

    outcome: Outcome
    by: str
    """The first test that failed; where none could be run, why."""
    seconds: float


def run(name: str, tests: tuple[str, ...] = (), *, seconds: float = ALL) -> Run:
    """Run the tests of a mutant, or these, until the first fails. They are below `tests`."""
    command = [sys.executable, "-m", "pytest", "-qx", "--tb=no", "-s", "-p", PLUGIN]
    command += ["-p", "no:cacheprovider", *(f"tests/{one}" for one in tests or FAULTS[name].tests)]
    began = time.monotonic()
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | {VARIABLE: name, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Run(Outcome.BROKEN, f"not done after {seconds:.0f} s", seconds)
    took = time.monotonic() - began
    if done.returncode == NOTHING_FAILED:
        return Run(Outcome.SURVIVED, "", took)
    said = done.stdout + done.stderr
    failed = re.search(r"^(?:FAILED|ERROR|HANGS) tests/(\S+)", said, re.MULTILINE)
    if failed is not None and done.returncode in (SOMETHING_FAILED, HANGS):
        outcome = Outcome.KILLED if done.returncode == SOMETHING_FAILED else Outcome.HANGS
        return Run(outcome, failed[1], took)
    last = said.strip().splitlines()[-1:] or ["no output"]
    return Run(Outcome.BROKEN, last[0], took)
