"""Lifecycle events outlast `kill -9` under load: none is missing, and all are in order."""

from pathlib import Path

from tests.edges.event_kills import run
from tests.support import examples

KILLS = 4 if examples(1) == 1 else examples(25)
"""In `make test-long`, 1,000."""


def test_no_event_is_missing_after_kills(tmp_path: Path) -> None:
    figures = run(KILLS, tmp_path, seed=1)
    assert figures.kills == KILLS
    assert figures.events >= KILLS, figures
