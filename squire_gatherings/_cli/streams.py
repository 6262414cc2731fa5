"""Standard streams: one that was closed before the program began leads to the null device."""

import os
import sys

_MODES = {"stdin": "r", "stdout": "w", "stderr": "w"}


def open_what_is_closed() -> None:
    """Open each standard stream that Python found closed: it leads to the null device.

    They are opened in their order, so that each gets its own number. If a file or a socket got it,
    a message for standard error might be written there.
    """
    for name, mode in _MODES.items():
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def let_go_of_stdout() -> None:
    """Write nothing more to standard output. Python flushes it at its end, and would complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
