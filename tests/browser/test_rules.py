"""The rules of the browser client, and whole lives of it at random, run by node."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import examples

RULES = Path(__file__).parent / "rules"


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
@pytest.mark.parametrize("file", sorted(RULES.glob("*.test.mjs")), ids=lambda file: file.stem)
def test_rules(file: Path) -> None:
    environment = {**os.environ, "EXAMPLES": str(examples(12))}
    command = ["node", "--test", str(file)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600)
    assert run.returncode == 0, run.stdout[-5000:]
