"""Durations and sizes as people write them: `24h`, `1h30m`, `500ms`, `64KiB`."""

import math
import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
SHORTEST = _SECONDS["ms"]
LONGEST = 36_500 * _SECONDS["d"]
"""A hundred years, in seconds. More is a mistake, or means never."""
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SIZE = re.compile(r"([0-9]{1,15})(B|KiB|MiB|GiB)?")


def parse_duration(text: str) -> float:
    """Return how many seconds a duration has.

    A unit is required, except for 0: `90` might be seconds or minutes.

    Raises:
        ValueError: The text isn't a duration.
    """
    text = text.strip()
    if text == "0":
        return 0.0
    if _DURATION.fullmatch(text) is None:
        raise ValueError(f"{text[:40]!r} is not a duration such as 24h, 90m, 1h30m, 2.5s or 500ms")
    parts = _DURATION_PART.findall(text)
    seconds = math.fsum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds > LONGEST:
        raise ValueError(f"{text[:40]!r} is too long: at most {LONGEST / _SECONDS['d']:.0f}d")
    if 0 < seconds < SHORTEST:
        raise ValueError(f"{text[:40]!r} is too short: at least 1ms")
    return seconds


def format_duration(seconds: float) -> str:
    """Return `seconds`, to the millisecond, as `parse_duration` reads it: `24h`, `1h30m`.

    Infinity is `off`, as in options.
    """
    if seconds == math.inf:
        return "off"
    left = round(seconds * 1000)
    text = ""
    for unit, milliseconds in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, milliseconds)
        if count:
            text += f"{count}{unit}"
    return text or "0"


def parse_size(text: str) -> int:
    """Return how many bytes a size has.

    Raises:
        ValueError: The text isn't a size.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a size such as 65536, 64KiB or 1MiB")
    return int(found[1]) * _BYTES[found[2] or ""]


def format_size(size: int) -> str:
    """Return a size in bytes as people read it, in the largest unit that fits: `64.0 KiB`."""
    for unit in ("GiB", "MiB", "KiB"):
        if size >= _BYTES[unit]:
            return f"{size / _BYTES[unit]:.1f} {unit}"
    return f"{size} B"
