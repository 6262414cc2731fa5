"""The real tools that check what is in `deploy`: those that are there, else a reason to skip."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.process import PATIENCE

DEPLOY = Path(__file__).parent.parent.parent / "deploy"


def found(tool: str) -> str:
    """Return where a tool is, or skip the test."""
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} isn't installed here")
    return path


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
