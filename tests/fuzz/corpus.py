"""The corpus: inputs that together reach what is reached, a line each, as Python writes bytes."""

from ast import literal_eval
from collections.abc import Iterable
from pathlib import Path

PLACE = Path(__file__).with_name("corpus")


def read(name: str) -> list[bytes]:
    """Return the inputs that are kept for a target."""
    file = PLACE / f"{name}.txt"
    if not file.exists():
        return []
    return [literal_eval(line) for line in file.read_text().splitlines()]


def write(name: str, inputs: Iterable[bytes]) -> None:
    """Keep these, and no others."""
    lines = [f"{one!r}\n" for one in sorted(set(inputs), key=lambda one: (len(one), one))]
    (PLACE / f"{name}.txt").write_text("".join(lines))
