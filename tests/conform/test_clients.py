"""Our own clients pass, all of the stories; and nothing is left out of them."""

import shutil
import sys
from pathlib import Path

import pytest

import squire_gatherings
from squire_gatherings._conform.report import Report, Result
from squire_gatherings._conform.run import Plan, run
from squire_gatherings._conform.stories import STORIES
from tests.browser.test_programs import node
from tests.support import examples

ADAPTERS = Path(squire_gatherings.__file__).parent / "_conform" / "adapters"
PYTHON = [sys.executable, "-m", "squire_gatherings._conform.adapters.python_client"]


async def certify(command: list[str], only: str | None = None, **changes: object) -> Report:
    stories = [one for name, one in STORIES.items() if only in (None, name)]
    plan = Plan(stories, patience=20.0, watch=0.3, jobs=3, **changes)  # type: ignore[arg-type]
    return await run(plan, command, None, lambda _: None, lambda _: None)


def failures(report: Report) -> list[Result]:
    return [one for one in report.results if one.outcome != "passed"]


async def test_the_python_client_passes() -> None:
    report = await certify(PYTHON)
    assert failures(report) == []
    assert [one.story for one in report.results] == list(STORIES)


async def test_the_browser_client_passes_in_node() -> None:
    command = node()
    if command is None:
        assert shutil.which("node") is None
        pytest.skip("there is no node")
    report = await certify([*command, str(ADAPTERS / "browser_client.mjs")])
    # It has no presence yet.
    assert [one for one in failures(report) if one.did != "presence"] == []
    assert [one.story for one in report.results] == list(STORIES)


ENCODINGS = ["msgpack", "json"][: examples(1)]
"""Our own clients speak JSON, so that is left to `make test-long`."""


async def test_a_client_of_somebody_else_passes() -> None:
    """It shares no code with ours, and can less."""
    command = [sys.executable, "-m", "examples.small_client"]
    report = await certify(command, encodings=ENCODINGS)
    assert [one for one in failures(report) if one.outcome == "failed"] == []
    lacks = {name for name, one in STORIES.items() if not one.needs <= {"state"}}
    skipped = {one.story for one in failures(report)}
    assert skipped == lacks
    assert len(report.results) == len(ENCODINGS) * len(STORIES)


@pytest.mark.parametrize("seed", range(examples(2)))
async def test_cuts_at_any_byte(seed: int) -> None:
    report = await certify(PYTHON, "survives-cuts-at-any-byte", seed=seed)
    assert failures(report) == []
