"""Watching: sees what a behaviour calls that it mustn't, which are clocks and random numbers.

It is a profile function (`sys.setprofile`) around one call, so nothing is replaced or patched.
"""

import datetime
import os
import random
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_CLOCKS = {time.time: "time.time", time.time_ns: "time.time_ns"}
_DATES = ("now", "utcnow", "today")
_SHARED_RANDOM = getattr(random.random, "__self__", None)
_HELPERS = ("random", "secrets", "uuid")
"""Modules that ask for a random number on somebody's behalf."""


def watched(found: list[str], call: Callable[P, R], /, *args: P.args, **named: P.kwargs) -> R:
    """Call a function; note in `found` each clock or random number that it has asked for.

    What logging asks for isn't noted.
    """

    def profile(frame: FrameType, event: str, what: Any) -> None:
        if event == "c_call" and (name := _mustnt(what)) and not _logs(frame):
            found.append(f"{name}, {_place(frame)})")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        return call(*args, **named)
    finally:
        sys.setprofile(before)


def _mustnt(what: Any) -> str | None:
    """Return what no behaviour may call, in words that a place ends; None for anything else."""
    of, name = getattr(what, "__self__", None), getattr(what, "__name__", "")
    if isinstance(of, type):
        is_now = name in _DATES and issubclass(of, datetime.date)
        return f"the time of day ({of.__name__}.{name}" if is_now else None
    if of is not None and of is _SHARED_RANDOM:
        return "a random number (of the module random"
    if what is os.urandom:
        return "a random number (os.urandom"
    clock = next((text for clock, text in _CLOCKS.items() if what is clock), None)
    return None if clock is None else f"the time of day ({clock}"


def _logs(frame: FrameType | None) -> bool:
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] == "logging":
            return True
        frame = frame.f_back
    return False


def _place(frame: FrameType) -> str:
    while frame.f_globals.get("__name__") in _HELPERS and frame.f_back is not None:
        frame = frame.f_back
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
