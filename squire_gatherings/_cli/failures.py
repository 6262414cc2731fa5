"""Failures: what the command line says when something went wrong, and its exit code."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import suppress

import click

from squire_gatherings._cli.environment import TAKE_OVER
from squire_gatherings._cli.printing import CannotPrint
from squire_gatherings._cli.streams import let_go_of_stdout
from squire_gatherings._values.errors import GatheringsError

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it: 128 + SIGINT."""

WRONG = 2
"""The exit code when something is wrong: an option, an address, a store."""

NOTHING_THERE = 1
"""The exit code when what a server was asked about isn't there."""

NOBODY_READS = 1
"""The exit code when the reader of standard output has gone."""

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""The errors of a standard output that leads to a full disk or a lost terminal."""


class NothingThere(click.ClickException):
    """What a server was asked about isn't there."""


def exit_code_of(error: BaseException) -> int | None:
    """Say what went wrong, in one line, if there's something to say; return the exit code.

    Args:
        error: What was raised. It may be a group, as nurseries raise it.

    Returns:
        The exit code. None for an error that nobody has foreseen: it deserves a traceback.
    """
    leaves = tuple(_leaves(error))
    if any(isinstance(leaf, KeyboardInterrupt | click.Abort) for leaf in leaves):
        return INTERRUPTED
    if all(isinstance(leaf, BrokenPipeError) for leaf in leaves):
        let_go_of_stdout()
        return NOBODY_READS
    if any(isinstance(leaf, CannotPrint) for leaf in leaves):
        let_go_of_stdout()
    texts = [_text_of(leaf) for leaf in leaves if not isinstance(leaf, BrokenPipeError)]
    if None in texts:
        return None
    if any(isinstance(leaf, OSError) for leaf in leaves):
        let_go_of_stdout()
    text = " ".join(str(texts[0]).split())
    with suppress(OSError):
        print(f"squire_gatherings: error: {text}", file=sys.stderr)
    if TAKE_OVER in os.environ:
        # A server that is to be upgraded waits for this process, and says why it isn't.
        from squire_gatherings._cli.takeover import refuse_takeover

        refuse_takeover(text)
    is_nothing = all(isinstance(leaf, NothingThere) for leaf in leaves)
    return NOTHING_THERE if is_nothing else WRONG


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error


def _text_of(error: BaseException) -> str | None:
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, GatheringsError | CannotPrint):
        return str(error)
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        return f"can't write: {error.strerror}"
    return None
