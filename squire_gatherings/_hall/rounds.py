"""Rounds: what one task reads from many clients in a step is processed at the end of that step.

A gathering's task would have to be woken for each message that comes alone, and its answers would
wait for another turn of all tasks. A reader of many sockets opens a round instead. Gatherings that
sleep are noted in it, and each has its turn when the round ends: one for all that has come for it.
"""

from typing import Protocol

from attrs import define, field


class Served(Protocol):
    """Something that may have a turn without its task being woken."""

    def serve(self) -> None:
        """Process what has arrived. Doesn't wait, and raises nothing of its own."""
        ...


@define(eq=False)
class Round:
    """The round of one hall; there is no checkpoint between its beginning and its end."""

    is_open: bool = False
    arrived: dict[Served, None] = field(factory=dict)
    """Those at which something has arrived since it began, in this order."""

    def begin(self) -> None:
        """Note that somebody reads, and will call `end`."""
        self.is_open = True

    def end(self) -> None:
        """Serve all at which something has arrived."""
        self.is_open = False
        if self.arrived:
            arrived, self.arrived = self.arrived, {}
            for one in arrived:
                one.serve()
