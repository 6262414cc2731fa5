"""The plain functions of the page's modules, tested by node (`rules/*.test.mjs`)."""

import shutil
import subprocess
from pathlib import Path

import pytest

RULES = Path(__file__).parent / "rules"


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
def test_rules() -> None:
    files = sorted(str(file) for file in RULES.glob("*.test.mjs"))
    assert files
    run = subprocess.run(["node", "--test", *files], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout
