"""Lives: an instrument that sees when the tasks of incarnations begin and end."""

from collections import Counter
from typing import TYPE_CHECKING

import trio
from attrs import define, field

if TYPE_CHECKING:
    from tests.system.world import World

NAME = "gathering "
"""How the names of their tasks begin."""


@define(eq=False)
class Lives(trio.abc.Instrument):
    """Tells the truth who lives."""

    world: "World"
    tasks: Counter[str] = field(factory=Counter)
    """The tasks that there are, by their names."""
    _ended: Counter[str] = field(factory=Counter)

    def new_hall(self) -> None:
        """Another hall begins to count."""
        self._ended.clear()

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.tasks[task.name] += 1
        if task.name.startswith(NAME):
            self.world.truth.spawned(task.name.removeprefix(NAME))

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self.tasks[task.name] -= 1
        if task.name.startswith(NAME):
            self.world.truth.exited(task.name.removeprefix(NAME), self._reason())

    def _reason(self) -> str | None:
        """Return why the last one ended that the hall has counted, if it has counted one."""
        hall = self.world.any_hall
        if hall is None:
            return None
        now = Counter(hall.snapshot().dispersed)
        [*new] = now - self._ended
        self._ended = now
        return new[0] if new else None
