"""Dispersed gatherings leave no memory behind (a small run of the benchmark that shows it)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("allocator", ["pymalloc", "malloc"])
def test_memory_stays(allocator: str) -> None:
    script = Path(__file__).parent.parent / "benchmarks" / "leaks.py"
    done = subprocess.run(
        [sys.executable, script, "--gatherings", "1000", "--rounds", "5"],
        env={**os.environ, "PYTHONMALLOC": allocator},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
