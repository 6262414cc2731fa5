"""Lives: an instrument that sees when the tasks of incarnations begin and end."""

from collections import Counter
from typing import TYPE_CHECKING

import trio
from attrs import define, field

from squire_gatherings._hall.incarnations import Incarnation
from squire_gatherings._hall.parts import parts_of
from squire_gatherings._hall.room import Room
from squire_gatherings._hall.running import run
from squire_gatherings._hall.sleeper import Sleeper

if TYPE_CHECKING:
    from tests.system.world import World


@define(eq=False)
class Lives(trio.abc.Instrument):
    """Tells the `Truth` which incarnations live."""

    world: "World"
    tasks: Counter[str] = field(factory=Counter)
    """The number of running tasks by name; an incarnation's task has its gathering's id."""
    running: int = 0
    """How many incarnations' tasks are running."""
    _ended: Counter[str] = field(factory=Counter)
    _rooms: dict[trio.lowlevel.Task, Room] = field(factory=dict)
    """Those of the tasks of incarnations."""

    def new_hall(self) -> None:
        """Start over: another hall begins to count."""
        self._ended.clear()

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.tasks[task.name] += 1
        if _is_life(task):
            self.running += 1
            gathering = task.name
            one = self._living(gathering)
            if isinstance(one, Incarnation):
                self._rooms[task] = one.room
            if not (isinstance(one, Incarnation) and one.room.is_resting):
                # Otherwise it has slept, and lives on.
                self.world.truth.spawned(gathering)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self.tasks[task.name] -= 1
        if _is_life(task):
            self.running -= 1
            gathering = task.name
            room = self._rooms.pop(task, None)
            if self._living(gathering) is None:
                # Otherwise it sleeps, or is awake again already.
                if room is not None and room.is_kept:
                    self.world.truth.sleeps_on(gathering)
                else:
                    self.world.truth.exited(gathering, self._reason())

    def _living(self, gathering: str) -> Incarnation | Sleeper | None:
        hall = self.world.any_hall
        return None if hall is None else parts_of(hall)[0].living.get(gathering)

    def _reason(self) -> str | None:
        """Return the reason of the last end that the hall has counted, if there is a new one."""
        hall = self.world.any_hall
        if hall is None:
            return None
        now = Counter(hall.snapshot().dispersed)
        [*new] = now - self._ended
        self._ended = now
        return new[0] if new else None


def _is_life(task: trio.lowlevel.Task) -> bool:
    """Whether it is an incarnation's."""
    return getattr(task.coro, "cr_code", None) is run.__code__
