"""Clients that hang, flood, die or talk nonsense: bounded, and told."""

import sys

import pytest

from squire_gatherings._conform import subject
from squire_gatherings._conform.run import CannotRun, Plan, run
from squire_gatherings._conform.stories import STORIES

READY = """
import json, os, sys, time
def say(**report):
    print(json.dumps(report), flush=True)
say(report="ready", name="faulty")
sys.stdin.readline()
"""
HANGS = "time.sleep(60)"
FAULTS = {
    "sys.exit(3)": "its process ended with code 3",
    "raise ValueError('oh no')": "ended with code 1, and had said: ValueError: oh no",
    "os.close(1); time.sleep(60)": "it closed its output",
    "print('hello'); sys.stdout.flush(); time.sleep(60)": "a line that is no report: 'hello'",
    "say(report='dance'); time.sleep(60)": "a line that is no report",
    "say(report='change', seq=True, op={}); time.sleep(60)": "no proper `seq`",
    "say(report='change', seq=1); time.sleep(60)": "no proper `op`",
    "print([1]); sys.stdout.flush(); time.sleep(60)": "a line that is no report: '[1]'",
    "print('x' * 10**6, end='', flush=True); time.sleep(60)": "a line of more than",
    "sys.stdout.buffer.write(bytes([255, 10])); sys.stdout.flush(); time.sleep(60)": "no report",
    "[say(report='left') for _ in range(3000)]; time.sleep(60)": "it printed more than",
    "say(report='ready', name='x', can=[1]); time.sleep(60)": "are arrays of text",
    HANGS: "didn't connect within 0.5 s",
}


@pytest.fixture(autouse=True)
def low_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("squire_gatherings._conform.process.MAX_LINE", 500_000)
    monkeypatch.setattr(subject, "MAX_REPORTS", 2000)
    monkeypatch.setattr("squire_gatherings._conform.process.PATIENCE_AT_THE_END", 0.2)


@pytest.mark.parametrize("what", FAULTS)
async def test_it_is_told(what: str) -> None:
    patience = 0.5 if what == HANGS else 20.0
    plan = Plan([STORIES["joins"]], patience=patience, watch=0.05)
    command = [sys.executable, "-c", READY + what]
    report = await run(plan, command, None, lambda _: None, lambda _: None)
    [result] = report.results
    assert result.outcome == "failed"
    assert FAULTS[what] in str(result.did)


@pytest.mark.parametrize("what", ["import sys; sys.exit(4)", "print('{}')"])
async def test_one_that_is_never_ready(what: str) -> None:
    plan = Plan([STORIES["joins"]], patience=0.5, watch=0.05)
    with pytest.raises(CannotRun, match=r"ended with code 4|no report"):
        await run(plan, [sys.executable, "-c", what], None, lambda _: None, lambda _: None)
