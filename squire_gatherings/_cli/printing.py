"""Printing: prints for people and scripts, and makes safe what others wrote."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class CannotPrint(Exception):
    """Standard output can't be written: the disk is full, or the terminal is gone."""


def printable(value: Any) -> str:
    """Return a JSON value as one line that has no control characters for the terminal."""
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
    """Say plainly why the block can't write.

    Raises:
        BrokenPipeError: Nobody reads.
        CannotPrint: It can't be written for another reason.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CannotPrint(f"can't write: {error.strerror or error}") from error


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal. Python has no stream if its descriptor was closed."""
    return stream is not None and stream.isatty()


def flush_stdout() -> None:
    """Write what still waits in the buffer. Raises what `printing` does."""
    if sys.stdout is not None:
        with printing():
            sys.stdout.flush()
