"""Each target takes its seeds, the corpus, and inputs made by small changes of those."""

import random

import pytest

from tests.fuzz import corpus
from tests.fuzz.targets import TARGETS
from tests.support import examples

MANGLED = 100
"""The number of inputs made from the corpus for each target."""


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus(name: str) -> None:
    target = TARGETS[name]
    kept = corpus.read(name)
    assert kept, f"python -m tests.fuzz {name} --keep"
    for data in (*target.seeds, *kept):
        target.run(data)


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_that_are_almost_those(name: str) -> None:
    target = TARGETS[name]
    inputs = (*target.seeds, *corpus.read(name))
    chance = random.Random(name)
    for _ in range(examples(MANGLED)):
        target.run(mangled(chance, chance.choice(inputs), (*inputs, *target.words)))


def mangled(chance: random.Random, data: bytes, others: tuple[bytes, ...]) -> bytes:
    """Change a few bytes, cut it, or put in a part of another input."""
    for _ in range(chance.randint(1, 4)):
        at, end = sorted(chance.randrange(len(data) + 1) for _ in range(2))
        other = chance.choice(others)
        start = chance.randrange(len(other) + 1)
        new = chance.choice(
            [b"", chance.randbytes(1), other, other[start:], other[:start], data[at:end] * 2]
        )
        data = data[:at] + new + data[chance.choice([at, at + 1, end]) :]
    return data


def test_the_corpus_has_no_other_files() -> None:
    assert {file.stem for file in corpus.PLACE.iterdir()} == set(TARGETS)
