"""Dispersed gatherings leave no memory behind (a small run of the benchmark that shows it)."""

import subprocess
import sys
from pathlib import Path


def test_memory_stays() -> None:
    script = Path(__file__).parent.parent / "benchmarks" / "leaks.py"
    done = subprocess.run(
        [sys.executable, script, "--gatherings", "1000", "--rounds", "5"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
