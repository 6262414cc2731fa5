"""The calls about when a gathering ends: why it is alive, a hold, more time, a warning."""

import math

import trio
from msgspec import UNSET

from squire_gatherings._admin.api import end_shapes
from squire_gatherings._admin.api.times import Times
from squire_gatherings._admin.operations import Call, Operation
from squire_gatherings._admin.problems import Refusal
from squire_gatherings._hall.hall import Hall
from squire_gatherings._values.end_rules import EndRules, Explanation


async def explain(call: Call) -> end_shapes.Explanation:
    """Return why a gathering is alive."""
    await trio.lowlevel.checkpoint()
    return _explanation(call.hall, call.hall.explain(call.gathering))


async def hold(call: Call) -> end_shapes.Explanation:
    """Let no rule end a gathering before an instant."""
    body: end_shapes.Hold = call.body
    if (body.until is UNSET) is (body.seconds is UNSET):
        raise Refusal(400, "bad_value", "a hold has either `until` or `for`")
    until = body.until
    if body.seconds is not UNSET:
        until = call.observer.wall() + body.seconds
    await trio.lowlevel.checkpoint()
    return _explanation(
        call.hall, call.hall.hold(call.gathering, until=until or None, by=call.operator)
    )


async def extend(call: Call) -> end_shapes.Explanation:
    """Put the end of a gathering off."""
    body: end_shapes.Extend = call.body
    await trio.lowlevel.checkpoint()
    return _explanation(call.hall, call.hall.extend(call.gathering, body.seconds, by=call.operator))


async def warn(call: Call) -> end_shapes.Explanation:
    """Warn the clients of a gathering now."""
    await trio.lowlevel.checkpoint()
    return _explanation(call.hall, call.hall.warn(call.gathering))


def _explanation(hall: Hall, said: Explanation) -> end_shapes.Explanation:
    times = Times(said.now, round(said.wall_now, 3))
    return end_shapes.Explanation(
        now=times.wall,
        id=said.gathering,
        incarnation=said.incarnation,
        opened_at=times.at(said.opened_at),
        last_processed_at=times.at(said.last_processed_at),
        clients=said.clients,
        deadline=times.maybe_at(said.deadline),
        ends_in=times.left(said.deadline),
        rule=said.rule,
        ends={str(rule): times.at(at) for rule, at in said.ends.items() if at < math.inf},
        held_until=None if said.held_until is None else times.maybe_at(said.held_until),
        warns_at=None if said.warns_at is None else times.maybe_at(said.warns_at),
        warned=said.warned,
        rules=rules_shape(said.rules),
        moved=end_shapes.Moved(what=said.moved.what, by=said.moved.by, at=times.at(said.moved.at)),
        here=here_shape(hall, said.gathering),
    )


def here_shape(hall: Hall, gathering: str) -> end_shapes.Here | None:
    """Return who is shown as being in a gathering; None where nobody may be."""
    if not hall.settings.presence:
        return None
    view = hall.presence(gathering)
    return end_shapes.Here(users=view.count, anonymous=view.anonymous)


def rules_shape(rules: EndRules) -> end_shapes.Rules:
    """Return rules as they are told."""
    return end_shapes.Rules(
        idle_timeout=_finite(rules.idle_timeout),
        empty_timeout=_finite(rules.empty_timeout),
        unjoined_timeout=_finite(rules.unjoined_timeout),
        alone_timeout=_finite(rules.alone_timeout),
        alone_clients=rules.alone_clients,
        max_age=_finite(rules.max_age),
        ends_at=_finite(rules.ends_at),
        hold_until=_finite(rules.hold_until),
        warn_before=_finite(rules.warn_before),
    )


def _finite(number: float | None) -> float | None:
    return None if number is None or math.isinf(number) else number


_ONE = "/api/v1/gatherings/{gathering}"

OPERATIONS = (
    Operation(
        method="GET",
        path=_ONE + "/explain",
        name="explain",
        does="Tell why a gathering is alive, and when it ends.",
        run=explain,
        answer=end_shapes.Explanation,
        problems=(404, 503),
    ),
    Operation(
        method="POST",
        path=_ONE + "/hold",
        name="hold",
        does="Let no rule end a gathering before an instant, or take that back.",
        run=hold,
        answer=end_shapes.Explanation,
        body=end_shapes.Hold,
        problems=(404, 503),
    ),
    Operation(
        method="POST",
        path=_ONE + "/extend",
        name="extend",
        does="Put the end of a gathering off by so many seconds.",
        run=extend,
        answer=end_shapes.Explanation,
        body=end_shapes.Extend,
        problems=(404, 503),
    ),
    Operation(
        method="POST",
        path=_ONE + "/warn",
        name="warn",
        does="Warn the clients of a gathering now of its end.",
        run=warn,
        answer=end_shapes.Explanation,
        problems=(404, 503),
    ),
)
