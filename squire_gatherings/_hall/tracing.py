"""Tracing: spans of joins and syncs for OpenTelemetry, from a sync's arrival to its forwards.

A hall that is traced is made of the subclasses here. Without a tracer nothing of this is imported,
and no message is looked at for it.
"""

from collections.abc import Callable
from typing import Any

from attrs import define, field
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    get_current_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from squire_gatherings._hall.answers import Answers
from squire_gatherings._hall.clients import Client, Sender
from squire_gatherings._hall.delivery import Delivery
from squire_gatherings._hall.gathering import Gathering
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.inbox import Inbox, JoinRequest, Request
from squire_gatherings._hall.membership import Membership
from squire_gatherings._hall.refreshes import Refreshes
from squire_gatherings._hall.requests import Requests
from squire_gatherings._hall.room import Room
from squire_gatherings._rules.behaviour import Behaviour
from squire_gatherings._rules.sync_ids import LookupNeeded
from squire_gatherings._values.errors import GatheringsError
from squire_gatherings._values.handshake import HandshakeRequest
from squire_gatherings._values.messages import Sync

NOWHERE = Context()
"""A sync of a client begins a trace of its own, whichever task has read it."""

_W3C = TraceContextTextMapPropagator()


@define(eq=False)
class TracedHall(Hall):
    """A hall whose joins are spans."""

    tracer: Tracer = field(kw_only=True, repr=False)

    async def join(self, *args: Any, **kwargs: Any) -> Membership:
        """As `Hall.join`."""
        context = _parent_of(kwargs.get("request"))
        attributes = {"squire.gathering": str(args[0])}
        with self.tracer.start_as_current_span(
            "join", context, SpanKind.SERVER, attributes
        ) as span:
            membership = await Hall.join(self, *args, **kwargs)
            span.set_attribute("squire.incarnation", membership.incarnation)
            _name_user(span, membership.identity.user)
            return membership


def make_gathering(
    tracer: Tracer,
    room: Room,
    make_behaviour: Callable[[], Behaviour],
    on_gone: Callable[[str], None],
    refreshes: Refreshes,
) -> Gathering:
    """Return a gathering whose syncs are spans."""
    inbox = room.inbox
    room.inbox = TracedInbox(budget=inbox.budget, round=inbox.round, spans=Spans(tracer, room))
    return TracedGathering(room, make_behaviour, on_gone, refreshes)


@define(eq=False)
class Spans:
    """The spans of one incarnation's syncs."""

    tracer: Tracer
    room: Room
    _arrived: dict[int, Span] = field(factory=dict)
    """Of those that wait to be judged, by the identity of the message."""
    _judged: list[Span] = field(factory=list)
    """Of those whose ops were taken, until everybody was brought them."""
    _joins: dict[str, SpanContext] = field(factory=dict)
    """Where the clients joined, by scope."""

    def joins(self, client: Client) -> None:
        """Somebody asks to join, within the span of its join."""
        if len(self._joins) > 2 * len(self.room.clients) + 16:
            there = self.room.clients
            self._joins = {one: found for one, found in self._joins.items() if one in there}
        self._joins[client.scope] = get_current_span().get_span_context()

    def arrived(self, sender: Sender, sync: Sync) -> None:
        """A sync has been put into the inbox."""
        context, links = None, None
        if isinstance(sender, Client):
            context, join = NOWHERE, self._joins.get(sender.scope)
            links = None if join is None else [Link(join)]
        attributes: dict[str, str | int] = {
            "squire.gathering": self.room.id,
            "squire.incarnation": self.room.incarnation,
            "squire.ops": len(sync.ops),
        }
        span = self.tracer.start_span("sync", context, SpanKind.SERVER, attributes, links)
        _name_user(span, sender.identity.user)
        self._arrived[id(sync)] = span

    def judged(self, sync: Sync, first: int, last: int) -> None:
        """Its ops have got seqs; if there are none, it is answered, and that is all."""
        span = self._arrived.pop(id(sync), None)
        if span is None:
            return
        span.add_event("judged")
        if last < first:
            span.end()
            return
        span.set_attributes({"squire.first_seq": first, "squire.last_seq": last})
        self._judged.append(span)

    def refused(self, sync: Sync, code: str) -> None:
        """It isn't taken."""
        span = self._arrived.pop(id(sync), None)
        if span is not None:
            span.set_status(Status(StatusCode.ERROR, code))
            span.end()

    def happened(self, event: str) -> None:
        """Something happened to all whose ops were taken."""
        for span in self._judged:
            span.add_event(event)

    def forwarded(self) -> None:
        """Everybody was brought their ops."""
        judged, self._judged = self._judged, []
        for span in judged:
            span.add_event("forwarded", {"squire.clients": len(self.room.clients)})
            span.end()

    def give_up(self, reason: str) -> None:
        """The incarnation has ended."""
        left = [*self._arrived.values(), *self._judged]
        self._arrived.clear()
        self._judged.clear()
        for span in left:
            span.set_status(Status(StatusCode.ERROR, f"the gathering ended: {reason}"))
            span.end()


@define(eq=False)
class TracedInbox(Inbox):
    """Sees what arrives."""

    spans: Spans = field(kw_only=True)

    def put(self, sender: Sender, request: Request) -> None:
        """As `Inbox.put`."""
        if isinstance(request, Sync):
            self.spans.arrived(sender, request)
        elif isinstance(request, JoinRequest):
            self.spans.joins(request.client)
        Inbox.put(self, sender, request)


@define(eq=False, weakref_slot=False)
class TracedRequests(Requests):
    """Sees what becomes of a sync."""

    def process(self, sender: Sender, request: Request) -> bool:
        """As `Requests.process`."""
        if not isinstance(request, Sync):
            return Requests.process(self, sender, request)
        spans, log = _spans_of(self.room), self.room.log
        before = log.seq
        counts = Requests.process(self, sender, request)
        spans.judged(request, before + 1, log.seq)
        return counts

    def _sync(self, sender: Sender, sync: Sync) -> bool:
        try:
            return Requests._sync(self, sender, sync)
        except LookupNeeded:
            raise
        except GatheringsError as error:
            _spans_of(self.room).refused(sync, error.code)
            raise


@define(eq=False, weakref_slot=False)
class TracedAnswers(Answers):
    """Sees when answers are given, or can't be yet."""

    def give(self, now: float) -> None:
        """As `Answers.give`."""
        Answers.give(self, now)
        _spans_of(self.room).happened("answered")

    def postpone(self, error: Any) -> None:
        """As `Answers.postpone`."""
        Answers.postpone(self, error)
        _spans_of(self.room).happened("postponed")


@define(eq=False)
class TracedDelivery(Delivery):
    """Sees when a crowd has been brought what came."""

    async def bring_the_rest(self) -> None:
        """As `Delivery.bring_the_rest`."""
        await Delivery.bring_the_rest(self)
        _spans_of(self.room).forwarded()


@define(eq=False, weakref_slot=False)
class TracedGathering(Gathering):
    """A gathering whose syncs are spans."""

    make_delivery = TracedDelivery
    make_answers = TracedAnswers
    make_requests = TracedRequests

    def leave(self) -> None:
        """As `Gathering.leave`."""
        Gathering.leave(self)
        _spans_of(self.room).give_up(str(self.room.reason))

    def _committed(self, now: float) -> None:
        spans = _spans_of(self.room)
        spans.happened("committed")
        Gathering._committed(self, now)
        if not self.delivery.batch:
            spans.forwarded()


def _spans_of(room: Room) -> Spans:
    assert isinstance(room.inbox, TracedInbox)
    return room.inbox.spans


def _parent_of(request: HandshakeRequest | None) -> Context | None:
    """Return the trace that a client's request belongs to; None for that of the task."""
    if request is None:
        return None
    carried = {name: request.header(name) for name in ("traceparent", "tracestate")}
    found = {name: value for name, value in carried.items() if value is not None}
    return _W3C.extract(found) if "traceparent" in found else None


def _name_user(span: Span, user: str | None) -> None:
    if user is not None:
        span.set_attribute("enduser.id", user)
