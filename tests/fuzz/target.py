"""A target: code that takes bytes from outside, and a check of what must hold for it."""

from collections.abc import Callable, Iterable

from attrs import field, frozen


def _bytes(seeds: Iterable[str | bytes]) -> tuple[bytes, ...]:
    return tuple(one.encode() if isinstance(one, str) else one for one in seeds)


def clear(error: Exception) -> str:
    """Return an error's text, which mustn't be empty."""
    text = str(error)
    assert text
    return text


@frozen
class Target:
    """One way in. A run is deterministic, and changes nothing that the next run sees."""

    name: str
    run: Callable[[bytes], None]
    """Takes an input; raises if anything happens that isn't documented."""
    seeds: tuple[bytes, ...] = field(converter=_bytes)
    """The good inputs that the search begins with."""
    words: tuple[bytes, ...] = field(default=(), converter=_bytes)
    """The words that the search may put into an input."""
