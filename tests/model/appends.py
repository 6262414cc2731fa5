"""Appends: what the store does with them, whoever has sent them and is still there."""

from attrs import frozen

from tests.model.checker import replaced, without
from tests.model.rooms import Rooms, Steps
from tests.model.world import Append, World


@frozen
class Appends(Rooms):
    """The store."""

    def _store(self, world: World, append: Append) -> Steps:
        place, generation = append.node
        node = world.nodes[place]
        is_heard = node.is_up and node.generation == generation
        room = world.rooms[place][append.gathering] if is_heard else None
        is_heard = room is not None and room.is_committing and room.epoch == append.epoch
        name = f"the append {append.syncs} of {append.node}"
        if append.result:
            if not is_heard:
                yield f"{name} is forgotten", self._settled(world, append, None)
            return
        stored = world.stored[append.gathering]
        done = (*stored.log[: append.first - 1], *append.syncs)
        fits = len(stored.log) == append.first - 1
        is_fenced = stored.epoch != append.epoch
        if self.has("takes any append"):
            is_fenced, fits, done = False, True, (*stored.log, *append.syncs)
        if is_fenced:
            result = "taken"
        elif fits:
            stored, result = stored._replace(log=done), "ok"
        else:
            result = "ok" if stored.log == done else "taken"
        after = world._replace(stored=replaced(world.stored, append.gathering, stored))
        yield f"{name} is {result}", self._settled(after, append, result if is_heard else None)
        if world.budget.failures and is_heard:
            budget = world.budget._replace(failures=world.budget.failures - 1)
            failed = self._settled(world._replace(budget=budget), append, "failed")
            yield f"{name} fails", failed
            if result == "ok":
                seems = self._settled(after._replace(budget=budget), append, "failed")
                yield f"{name} seems to fail", seems

    def _settled(self, world: World, append: Append, result: str | None) -> World:
        rest = without(world.appends, append)
        if result is not None:
            rest = tuple(sorted((*rest, append._replace(result=result))))
        return world._replace(appends=rest)
