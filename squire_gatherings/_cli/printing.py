"""Printing: what is printed for people and scripts, and what others wrote made safe to print."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class CannotPrint(Exception):
    """What was to be printed can't be written: a full disk, a terminal that is gone."""


def printable(value: Any) -> str:
    """Return a JSON value as one line in which nothing steers the terminal."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def print_json(**fields: Any) -> None:
    """Print one line of JSON, at once. Raises what `printing` does."""
    print_line(json.dumps(fields, allow_nan=False))


def print_line(line: str) -> None:
    """Print a line, at once. Raises what `printing` does."""
    with printing():
        print(line, flush=True)


@contextmanager
def printing() -> Iterator[None]:
    """Raise `CannotPrint` where the block can't write; `BrokenPipeError` if nobody reads."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CannotPrint(f"can't write what is to be said: {error.strerror or error}") from error


def is_terminal(stream: TextIO | None) -> bool:
    """Say whether a person is there; Python has no stream where its descriptor was closed."""
    return stream is not None and stream.isatty()


def flush_stdout() -> None:
    """Write what still waits. Raises what `printing` does."""
    if sys.stdout is not None:
        with printing():
            sys.stdout.flush()
