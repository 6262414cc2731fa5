"""The changelog: its fragments can be read, and make the next release's text."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
FRAGMENTS = sorted((ROOT / "docs" / "changes").glob("+*.md"))
WIDTH = 98
"""The width of a fragment; in the changelog it is indented by two."""


def test_the_fragments_are_the_next_release() -> None:
    # towncrier complains about names without a type.
    done = subprocess.run(
        [sys.executable, "-m", "towncrier", "build", "--draft", "--version", VERSION],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    for fragment in FRAGMENTS:
        assert " ".join(fragment.read_text().split()) in told


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=lambda fragment: fragment.name)
def test_a_fragment_is_as_wide_as_the_changelog(fragment: Path) -> None:
    assert max(map(len, fragment.read_text().splitlines())) <= WIDTH


def test_the_version_has_a_part_or_will_have() -> None:
    parts = re.findall(r"^## (\S+) \(\d{4}-\d\d-\d\d\)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert parts == sorted(parts, key=lambda text: [*map(int, text.split("."))], reverse=True)
    assert parts[0] == VERSION or FRAGMENTS
