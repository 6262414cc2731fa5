"""Traces: what clients saw of a real hall must be something that the model can do.

A trace has what happens at the connections, in order: who is let in, says something, is
acknowledged (under which seq), is cut off, and whose connection the hall closes. All else (turns,
commits, time, sleeps) is hidden. The model accepts a trace if it has some way that looks like it.
All ways are followed at once, each state once.
"""

from collections import defaultdict
from collections.abc import Sequence

from tests.model.steps import Nodes
from tests.model.world import Budget, World

Event = tuple[str | int, ...]
"""`("in", client)`, `("says", client, message)`, `("acked", client, message, seq)`,
`("cut", client)` or `("gone", client)`. And `("late", client, message)`: that was said just after
an end, and the next incarnation is given it, some time."""

MOST = 10_000
"""So many states are looked at, at most."""


class TooMany(Exception):
    """The trace is too long to be checked."""


def observe(label: str, before: World, after: World) -> list[Event]:
    """Return what a step shows, in any order."""
    found: list[Event] = []
    for client, (was, now) in enumerate(zip(before.clients, after.clients, strict=True)):
        if was is now:
            continue
        if not was.is_in and now.is_in:
            found.append(("in", client))
        found += [("says", client, one) for one in now.sent if one not in was.sent]
        found += [("acked", client, *one) for one in now.acked if one not in was.acked]
        if was.is_in and not now.is_in:
            found.append(("cut" if "is cut off" in label else "gone", client))
    return found


def model_for(trace: Sequence[Event], *, failures: int, ends: int) -> Nodes:
    """Return a model of one node that may do as much as a trace needs, and no more."""
    clients = {int(event[1]) for event in trace}
    messages = [int(event[2]) for event in trace if event[0] in ("says", "late")]
    cuts = sum(event[0] == "cut" for event in trace)
    return Nodes(
        clients=max(clients, default=0) + 1,
        messages=max(messages, default=0) + 2,
        budget=Budget(failures=failures, cuts=cuts, ends=ends),
        speaks_in_order=False,
        late=tuple((int(one[1]), int(one[2])) for one in trace if one[0] == "late"),
    )


def unexplained(model: Nodes, trace: Sequence[Event]) -> int | None:
    """Return the place of the first event that the model can't explain; None if it can all.

    Raises:
        TooMany: There are too many states.
    """
    trace = [event for event in trace if event[0] != "late"]
    reached: dict[int, set[World]] = defaultdict(set)
    reached[0].add(model.first())
    furthest, looked_at = 0, 0
    for place in range(len(trace) + 1):
        todo = list(reached[place])
        if todo:
            furthest = place
        if place == len(trace):
            break
        while todo:
            state = todo.pop()
            looked_at += 1
            if looked_at > MOST:
                raise TooMany
            for label, after in model.steps(state):
                shown = observe(label, state, after)
                end = place + len(shown)
                if shown and sorted(shown, key=repr) != sorted(trace[place:end], key=repr):
                    continue
                if after not in reached[end]:
                    reached[end].add(after)
                    if not shown:
                        todo.append(after)
        del reached[place]
    return None if furthest == len(trace) else furthest
