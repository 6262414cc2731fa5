"""Saying: what is wrong with a behaviour, in a sentence, and where two states differ."""

import math
from typing import Any


class BrokenRule(AssertionError):
    """A behaviour breaks one of its rules, or a promise was broken. The text says which."""


def difference(one: Any, other: Any, at: str = "") -> str | None:
    """Return where two JSON values differ, and how; None if they don't."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            if key not in one or key not in other:
                value = one.get(key, other.get(key))
                return f"only one of the two has {at}.{key}: {short(value)}"
            if found := difference(one[key], other[key], f"{at}.{key}"):
                return found
        return None
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other, strict=True)):
            if found := difference(*pair, f"{at}[{index}]"):
                return found
        return None
    if one == other:
        return None
    return f"{short(one)} is not {short(other)}" + (f", at {at}" if at else "")


def not_plain(value: Any, at: str = "") -> str | None:
    """Return what in a snapshot JSON can't say; None if it can say everything."""
    where = f" at {at}" if at else ""
    if value is None or isinstance(value, bool | int | str):
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value}{where}"
    if isinstance(value, list | tuple):
        parts = [not_plain(one, f"{at}[{index}]") for index, one in enumerate(value)]
    elif isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                return f"the key {key!r}{where}, which is no text"
        parts = [not_plain(one, f"{at}.{key}") for key, one in value.items()]
    else:
        kind = type(value).__name__
        return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}{where}"
    return next((part for part in parts if part), None)


def short(value: Any) -> str:
    """Return a value as text that isn't long."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
