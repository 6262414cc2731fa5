"""What tests need from npm: installed where their `package.json` is, or skipped."""

import shutil
import subprocess
from pathlib import Path

import pytest


def from_npm(folder: Path, name: str) -> Path:
    """Return a file of a package that the folder's `package.json` names; skip without it."""
    file = folder / "node_modules" / name
    if not file.exists():
        if shutil.which("npm") is None:
            pytest.skip(f"{name} isn't there, and neither is npm")
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock"]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
        if run.returncode:
            pytest.skip(f"npm can't install {name}: {run.stderr[-200:]}")
    return file
