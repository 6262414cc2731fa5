"""The findings of a verification: what is as it was committed, and what isn't."""

from collections.abc import Callable

from attrs import define, field, frozen

TELL_EVERY = 1000
"""How many ops are verified between two reports of progress."""

Progress = Callable[[int, int], None]
"""Takes how many ops were verified, and how many there are in all; may raise to give up."""


@frozen
class Wrong:
    """Something that isn't as it was committed: the first in its gathering."""

    gathering: str | None
    """None where it belongs to none."""
    seq: int | None
    """The op up to which the log isn't proven; None where it isn't about ops."""
    what: str


@frozen
class Proven:
    """A gathering whose log is as it was committed, and the head of its chain."""

    gathering: str
    seq: int
    head: str
    """In hexadecimal digits; empty if it has no ops."""


@define
class Report:
    """What was found in a file."""

    proven: list[Proven] = field(factory=list)
    wrong: list[Wrong] = field(factory=list)
    ops: int = 0
    """How many ops were looked at."""
    refused: int = 0
    """How many appends are kept in the table `refused`, since they didn't fit on the log."""

    def add(self, gathering: str | None, seq: int | None, what: str) -> None:
        """Note what is wrong."""
        self.wrong.append(Wrong(None if gathering is None else said(gathering), seq, what))

    def tell(self, progress: Progress, of: int) -> None:
        """Note that an op was looked at, of so many, and tell it now and then."""
        self.ops += 1
        if not self.ops % TELL_EVERY:
            progress(self.ops, max(of, self.ops))


def said(text: str) -> str:
    """Return an id as text that can be printed."""
    # An id that was changed may not be text any more.
    return text.encode(errors="backslashreplace").decode()
