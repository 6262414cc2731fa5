"""Points of a log, as people name them: a seq, or a time."""

from datetime import UTC, datetime

from attrs import frozen

EARLIEST = 100_000_000_000
"""From here on a number is a time in milliseconds (from 1973 on), and no seq."""


@frozen
class Point:
    """A seq, or an instant in milliseconds since 1970 (UTC)."""

    seq: int | None
    time: int | None


def parse_point(text: str) -> Point:
    """Return the point that `42`, `1764288000000`, `2026-11-28T01:02:03Z` or `2026-11-28` names.

    A time without a zone is UTC.

    Raises:
        ValueError: It names none.
    """
    text = text.strip()
    if text.isascii() and text.isdecimal() and len(text) <= 18:
        number = int(text)
        return Point(number, None) if number < EARLIEST else Point(None, number)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text[:40]!r} is neither a seq nor a time such as 2026-11-28T01:02:03Z"
        ) from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    time = int(found.timestamp() * 1000)
    if time < 0:
        raise ValueError(f"{text[:40]!r} is before 1970")
    return Point(None, time)


def format_time(milliseconds: int) -> str:
    """Return a time as people read it; `-` where it isn't known."""
    if not milliseconds:
        return "-"
    try:
        found = datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{milliseconds}ms"
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")
