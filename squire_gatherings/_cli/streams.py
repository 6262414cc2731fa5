"""Standard streams: one that was closed before we began leads nowhere, and bothers nobody."""

import os
import sys

_MODES = {"stdin": "r", "stdout": "w", "stderr": "w"}


def open_what_is_closed() -> None:
    """Let each standard stream that Python found closed lead to the null device.

    In their order: each gets its own number, which no file or socket may have, as somebody might
    write a message to it.
    """
    for name, mode in _MODES.items():
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def let_go_of_stdout() -> None:
    """Write nothing more to standard output: Python flushes it at its end, and would complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
