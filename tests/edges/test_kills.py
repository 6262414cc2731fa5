"""Power loss: after `kill -9` under load, acknowledged ops are there, once and in order."""

from pathlib import Path

from tests.edges.kills import run
from tests.support import examples

KILLS = 5 if examples(1) == 1 else examples(25)
"""In `make test-long`, 1,000."""


def test_what_was_acknowledged_outlasts_kills(tmp_path: Path) -> None:
    figures = run(KILLS, tmp_path, seed=1)
    assert figures.kills == KILLS
    assert figures.acknowledged >= KILLS, figures
