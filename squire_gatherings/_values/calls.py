"""Calls: how a program's own function wants to be called."""

import inspect
from collections.abc import Callable
from typing import Any


def takes(function: Callable[..., Any], count: int) -> bool:
    """Return whether a function can be called with so many arguments.

    One that can't be inspected is called as the simpler one.
    """
    try:
        inspect.signature(function).bind(*range(count))
    except (TypeError, ValueError):
        return False
    return True
