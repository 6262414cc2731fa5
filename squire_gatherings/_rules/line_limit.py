"""The line limit: how many lines of each kind the log gets a second, whatever clients do."""

from collections.abc import Hashable

from attrs import define, field

SECOND = 1.0


@define
class _Kind:
    begun: float
    lines: int = 0
    left_out: int = 0


@define(eq=False)
class LineLimit:
    """Says of each line whether it is one too many. There are few kinds; each is remembered."""

    _kinds: dict[Hashable, _Kind] = field(factory=dict)

    def count(self, kind: Hashable, now: float, most: int) -> int:
        """Count one that may become a line.

        Args:
            kind: What it is.
            now: The time in seconds, which never goes back.
            most: How many lines of this kind there may be within a second.

        Returns:
            How many there were since the last line, this one included; 0 where it is left out.
        """
        found = self._kinds.get(kind)
        if found is None:
            found = self._kinds[kind] = _Kind(now)
        if now - found.begun >= SECOND:
            found.begun, found.lines = now, 0
        if found.lines >= most:
            found.left_out += 1
            return 0
        found.lines += 1
        times, found.left_out = 1 + found.left_out, 0
        return times
