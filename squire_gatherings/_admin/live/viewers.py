"""Viewers: who watches now. There are few places, since each of them costs something."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import trio
from attrs import define, field

from squire_gatherings._admin.live.shapes import Asked
from squire_gatherings._admin.problems import Refusal

MOST_VIEWERS = 16
"""How many may watch at a time."""


@define(eq=False)
class Viewer:
    """Somebody who watches, and what they want to see."""

    id: str = field(factory=lambda: secrets.token_urlsafe(12))
    asked: Asked = field(factory=Asked)
    _changed: trio.Event = field(factory=trio.Event)

    def ask(self, asked: Asked) -> None:
        """Note that the viewer wants to see something else."""
        # Requests may overtake each other.
        if asked.number >= self.asked.number:
            self.asked = asked
            self._changed.set()

    def noticed(self) -> None:
        """Note that what is asked for now will be told next."""
        self._changed = trio.Event()

    async def wait_until(self, at: float) -> None:
        """Wait until this time, or until something else is asked for.

        Cancellation: nothing happened.
        """
        with trio.move_on_at(at):
            await self._changed.wait()


@define(eq=False)
class Viewers:
    """All who watch."""

    _present: dict[str, Viewer] = field(factory=dict)

    def __len__(self) -> int:
        return len(self._present)

    @contextmanager
    def place(self) -> Iterator[Viewer]:
        """Give somebody a place within the block.

        Raises:
            Refusal: There is none left.
        """
        if len(self._present) >= MOST_VIEWERS:
            why = f"{MOST_VIEWERS} watch already, and no more may"
            raise Refusal(503, "too_many_viewers", why)
        viewer = Viewer()
        self._present[viewer.id] = viewer
        try:
            yield viewer
        finally:
            del self._present[viewer.id]

    def find(self, viewer_id: str) -> Viewer:
        """Return a viewer by its id. Raises `Refusal` if there is no such."""
        viewer = self._present.get(viewer_id)
        if viewer is None:
            raise Refusal(404, "no_viewer", "nobody watches under this id")
        return viewer
