"""The calls about the hall as a whole: its state, and the last ends."""

from importlib.metadata import version

import trio

from squire_gatherings._admin.api import end_shapes, shapes
from squire_gatherings._admin.api.times import Times
from squire_gatherings._admin.operations import Call, Operation
from squire_gatherings._hall.parts import quotas_of
from squire_gatherings._values.numbers import Ended

VERSION = version("squire-gatherings")


async def hall_state(call: Call) -> shapes.HallState:
    """Return the state of the hall."""
    await trio.lowlevel.checkpoint()
    observer, quotas = call.observer, quotas_of(call.hall)
    return shapes.HallState(
        now=Times.of(observer).wall,
        version=VERSION,
        started_at=call.served.started_at,
        closing=observer.is_closed,
        store=call.hall.store.name,
        stages={str(stage): count for stage, count in observer.stages.items()},
        clients=observer.clients,
        connections=quotas.budget.connections,
        opened=observer.opened,
        ended=observer.ended,
        refused={str(limit): count for limit, count in quotas.refusals.counts.items()},
        messages=observer.tally.messages,
        memory=quotas.budget.used,
        outbound=quotas.budget.outbound,
    )


async def endings(call: Call) -> end_shapes.Endings:
    """Return the last ends."""
    await trio.lowlevel.checkpoint()
    observer = call.observer
    return end_shapes.Endings(
        now=Times.of(observer).wall,
        endings=[end_shape(one) for one in observer.endings(call.query.limit)],
    )


def end_shape(one: Ended) -> end_shapes.End:
    """Return an end as it is told."""
    return end_shapes.End(
        id=one.gathering,
        incarnation=one.incarnation,
        reason=one.reason,
        ended_at=round(one.ended_at, 3),
        lateness=None if one.lateness is None else round(one.lateness, 6),
        lifetime=round(one.lifetime, 3),
        processed=one.processed,
        seq=one.seq,
    )


OPERATIONS = (
    Operation(
        method="GET",
        path="/api/v1/hall",
        name="get_hall",
        does="Tell of the hall as a whole.",
        run=hall_state,
        answer=shapes.HallState,
    ),
    Operation(
        method="GET",
        path="/api/v1/endings",
        name="list_endings",
        does="Tell how the last gatherings ended, and how late; the newest come first.",
        run=endings,
        answer=end_shapes.Endings,
        query=end_shapes.EndingsQuery,
    ),
)
