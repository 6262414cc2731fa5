"""The corpus stays small: an input that reaches nothing new isn't kept."""

from pathlib import Path

import pytest

from tests.fuzz import corpus
from tests.fuzz.smallest import smallest, steps
from tests.fuzz.wire import run_json

LEAVE, LONGER = b'{"type":"leave"}', b'{"type":"leave", "x": 1}'
SYNC = b'{"type":"sync","id":"1","base":0,"ops":[{}]}'


def test_of_those_that_reach_the_same_the_shortest_is_kept() -> None:
    assert smallest(run_json, [], [LONGER, SYNC, LEAVE]) == [LEAVE, SYNC]
    assert smallest(run_json, [LEAVE], [LONGER, SYNC, LEAVE]) == [SYNC]
    assert steps(run_json, LONGER) == steps(run_json, LEAVE)
    assert steps(run_json, SYNC) - steps(run_json, LEAVE)


def test_a_corpus_is_read_as_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "PLACE", tmp_path)
    inputs = [b"", b"\n\r'\"\\", bytes(range(256))]
    corpus.write("x", [*inputs, b""])
    assert corpus.read("x") == inputs
    assert corpus.read("y") == []
