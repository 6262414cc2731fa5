"""Giving up: how a long look at a store, or a change of it, is told to end."""

from collections.abc import Callable

Stopped = Callable[[], bool]
"""Returns whether to give up; is asked many times a second. Then all is as it was."""


class GivenUp(Exception):
    """Somebody said to give up; nothing was changed."""
