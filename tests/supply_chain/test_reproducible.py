"""The wheel and the source archive have the same bytes on each machine and at each time."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def copy_of_sources(target: Path) -> Path:
    """Copy the files that git has, or those that a source archive has."""
    skipped = shutil.ignore_patterns(
        ".*", "__pycache__", "*.egg-info", "dist", "node_modules", "tests", "benchmarks"
    )
    shutil.copytree(ROOT, target, ignore=skipped)
    return target


def built(sources: Path, *, umask: int, moment: int) -> dict[str, bytes]:
    """Build the wheel and the source archive; return their names and contents."""
    for path in sources.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
        os.utime(path, (moment, moment))
    environment = {**os.environ, "TZ": f"UTC{moment % 12}", "PYTHONHASHSEED": str(moment % 99)}
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist"],
        cwd=sources,
        env=environment,
        umask=umask,
        check=True,
        capture_output=True,
    )
    return {made.name: made.read_bytes() for made in (sources / "dist").iterdir()}


@pytest.mark.parametrize("epoch", [None, "1790000000"])
def test_two_builds_are_the_same(
    epoch: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    if epoch is not None:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    one = built(copy_of_sources(tmp_path / "a"), umask=0o022, moment=1_700_000_000)
    another = copy_of_sources(tmp_path / "b" / "elsewhere")
    assert built(another, umask=0o077, moment=1_790_000_007) == one
    assert sorted(name.rpartition(".")[2] for name in one) == ["gz", "whl"]


def test_no_two_files_differ_in_case_alone() -> None:
    """A checkout on macOS or Windows would lose one of two such files."""
    names = [str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*")]
    assert len({name.casefold() for name in names}) == len(names)
