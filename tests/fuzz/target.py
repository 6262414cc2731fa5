"""A target: something that takes whatever comes from outside, and what must hold of it."""

from collections.abc import Callable, Iterable

from attrs import field, frozen


def _bytes(seeds: Iterable[str | bytes]) -> tuple[bytes, ...]:
    return tuple(one.encode() if isinstance(one, str) else one for one in seeds)


def clear(error: Exception) -> str:
    """Return what an error says, which must be something."""
    text = str(error)
    assert text
    return text


@frozen
class Target:
    """One way in. A run is deterministic, and changes nothing that the next one sees."""

    name: str
    run: Callable[[bytes], None]
    """Takes an input, and raises if something else happened than is documented."""
    seeds: tuple[bytes, ...] = field(converter=_bytes)
    """With what the search begins: good inputs."""
    words: tuple[bytes, ...] = field(default=(), converter=_bytes)
    """What the search may put into an input."""
