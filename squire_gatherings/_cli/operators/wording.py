"""Wording: instants and durations of the API as people read them."""

from squire_gatherings._cli.points import format_time

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def instant(seconds: float) -> str:
    """Return an instant, in seconds since 1970, in ISO 8601: `2026-11-28T10:00:00.250Z`."""
    return format_time(round(seconds * 1000))


def span(seconds: float) -> str:
    """Return about how long a time is, in its two largest units: `3h 2m`; short ones to 1 ms."""
    if seconds < 0:
        return f"-{span(-seconds)}"
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    if seconds < 10:
        return f"{seconds:.1f}s"
    left = int(seconds)
    parts: list[str] = []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{unit}")
    return " ".join(one for one in parts[:2] if not one.startswith("0"))


def when(seconds: float, now: float) -> str:
    """Return an instant, and how far from now it is: `2026-11-28T10:00:00.250Z (in 3h 2m)`."""
    left = seconds - now
    about = f"in {span(left)}" if left >= 0 else f"{span(-left)} ago"
    return f"{instant(seconds)} ({about})"


def count(number: int, one: str, several: str) -> str:
    """Return a number of things: `1 client`, `2 clients`."""
    return f"{number} {one if number == 1 else several}"
