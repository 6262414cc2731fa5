"""Points of a log, as people name them: a seq, or a time."""

from datetime import UTC, datetime, timedelta

from attrs import frozen

EARLIEST = 100_000_000_000
"""From here on a number is a time in milliseconds (from 1973 on), and no seq."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = 253_402_300_799_999
"""The last millisecond of the year 9999."""
_PERIOD = 146_097 * 86_400_000
"""The milliseconds of 400 years."""
_MOST_YEARS = 999_999


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
    """Return a time as people read it, in ISO 8601; `-` where it isn't known.

    A year of five digits or more has a sign, as that says.
    """
    if not milliseconds:
        return "-"
    # The calendar repeats itself after 400 years, and `datetime` has 9999.
    periods = max(0, -((_LAST - milliseconds) // _PERIOD))
    found = _EPOCH + timedelta(milliseconds=milliseconds - periods * _PERIOD)
    rest = found.isoformat(timespec="milliseconds").replace("+00:00", "Z")[4:]
    year = found.year + 400 * periods
    if year > _MOST_YEARS:
        return f"after the year {_MOST_YEARS}"
    return f"+{year}{rest}" if periods else f"{year:04}{rest}"
