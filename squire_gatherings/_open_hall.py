"""Embedding: `open_hall`, the way in for programs."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Unpack

import trio
from attrs import evolve

from squire_gatherings._cluster.beats import open_beats
from squire_gatherings._cluster.node import LocalNode
from squire_gatherings._hall.authentication import Authenticate, Authenticator, admit_everybody
from squire_gatherings._hall.event_delivery import Delivery, EventSink, OnEvent, open_events
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.incarnations import Incarnation, crowd_of
from squire_gatherings._hall.nurseries import open_hidden_nursery
from squire_gatherings._hall.owner_store import OwnerStore
from squire_gatherings._hall.ownership import Ownership
from squire_gatherings._hall.parts import be_one_of
from squire_gatherings._hall.refreshes import Refreshes
from squire_gatherings._hall.registry import Registry
from squire_gatherings._hall.rights import Rights
from squire_gatherings._hall.shared_delivery import SharedDelivery
from squire_gatherings._hall.sleep_book import open_sleep_book
from squire_gatherings._hall.sleeper import Sleeper
from squire_gatherings._hall.store import Store
from squire_gatherings._hall.taking_up import take_up
from squire_gatherings._hall.terms import Terms
from squire_gatherings._rules.behaviour import Behaviour, LogBehaviour
from squire_gatherings._rules.overrides import Overrides
from squire_gatherings._stores import open_store
from squire_gatherings._values.nodes import Node
from squire_gatherings._values.settings import HallOptions, HallSettings

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer


@asynccontextmanager
async def open_hall(
    *,
    store: Store | str = "memory:",
    behaviour: Callable[[], Behaviour] = LogBehaviour,
    authenticate: Authenticate = admit_everybody,
    wall_clock: Callable[[], float] = time.time,
    on_event: OnEvent | EventSink | None = None,
    tracer: "Tracer | None" = None,
    node: Node | None = None,
    settings: HallSettings | None = None,
    **changes: Unpack[HallOptions],
) -> AsyncIterator[Hall]:
    """Open a hall, and its store if that is given as a URL.

    Leaving the block closes the hall with notices (see `Hall.close`). Leaving it by an exception
    gives the same notices, within `close_grace` seconds.

    Args:
        store: Where logs last: a `Store`, or what `open_store` takes.
        behaviour: Called for each incarnation; returns its `Behaviour`.
        authenticate: Called for each join that comes without an identity, and for each refresh.
        wall_clock: Returns the time of day, as seconds since 1970 (UTC). Rights end by it, and ops
            have its times. It may go back; the times in a log don't.
        on_event: An async function, called with each lifecycle event, or an `EventSink`, such as a
            `Webhook`. Events are kept in the store until it has returned (see docs/events.md).
        tracer: A tracer of OpenTelemetry: joins and syncs are spans then (see docs/tracing.md).
        node: What the hall is among those that share its store (an `OwnerStore`); by default a
            node that is named after the machine and the process. Its id must be new.
        settings: What else is to be set, all at once.
        **changes: Every field of `HallSettings`, by its name. These come before `settings`.

    Raises:
        BadSetting: A setting can't be what it is, or `store` is no such URL, or it keeps no events
            and there is an `on_event`.
        StoreUnavailable: The store can't be opened, or read for events that were left, now.
        StoreUnusable: What the URL names can't be opened.

    Cancellation: every gathering disperses with a notice, within `close_grace` seconds.
    """
    settings = evolve(settings or HallSettings(), **changes)
    opened = _opened(store, behaviour, authenticate, wall_clock, on_event, tracer, settings, node)
    async with opened as hall:
        yield hall


@asynccontextmanager
async def open_successor(
    *,
    store: Store,
    settings: HallSettings,
    behaviour: Callable[[], Behaviour] = LogBehaviour,
    authenticate: Authenticate = admit_everybody,
    wall_clock: Callable[[], float] = time.time,
    on_event: OnEvent | EventSink | None = None,
    tracer: "Tracer | None" = None,
) -> AsyncIterator[Hall]:
    """Open a hall that is to go on for another process, which has the store (see `Arriving`).

    As `open_hall`, but for lifecycle events: the other process tells them until then.
    """
    opened = _opened(
        store, behaviour, authenticate, wall_clock, on_event, tracer, settings, follows=True
    )
    async with opened as hall:
        yield hall


@asynccontextmanager
async def _opened(
    store: Store | str,
    behaviour: Callable[[], Behaviour],
    authenticate: Authenticate,
    wall_clock: Callable[[], float],
    on_event: OnEvent | EventSink | None,
    tracer: "Tracer | None",
    settings: HallSettings,
    node: Node | None = None,
    *,
    follows: bool = False,
) -> AsyncIterator[Hall]:
    async with AsyncExitStack() as stack:
        if isinstance(store, str):
            store = await stack.enter_async_context(open_store(store))
        beats = None
        if isinstance(store, OwnerStore):
            beats = await stack.enter_async_context(open_beats(store, node))
        book, slept = await stack.enter_async_context(open_sleep_book(store, settings))
        events = None
        if on_event is not None:
            asleep = {one.state.incarnation for one in slept}
            told = open_events(
                store,
                on_event,
                wall_clock,
                settings,
                asleep,
                follows=follows,
                make_delivery=Delivery
                if beats is None
                else partial(SharedDelivery, owners=beats.store),
            )
            events = await stack.enter_async_context(told)
            if book is not None:
                book.events = events.lifecycle.settle
        nursery = await stack.enter_async_context(open_hidden_nursery())
        gatherings: trio.Nursery = await nursery.start(_hold_nursery)
        living: dict[str, Incarnation | Sleeper] = {}
        rights = Rights(
            Terms(settings, wall_clock, gatherings),
            Authenticator.of(authenticate, settings.authenticate_timeout),
            lambda: map(crowd_of, living.values()),
            Overrides(settings.max_remembered),
        )
        lifecycle = None if events is None else events.lifecycle
        ownership = None
        if beats is not None:
            ownership = Ownership(beats.store, lifecycle)
        registry = Registry(
            settings,
            store,
            behaviour,
            gatherings,
            Refreshes(rights),
            lifecycle,
            book=book,
            ownership=ownership,
            living=living,
        )
        if tracer is None:
            hall = Hall(settings, store, rights, registry, events)
        else:
            from squire_gatherings._hall.tracing import TracedHall, make_gathering

            registry.make_gathering = partial(make_gathering, tracer)
            hall = TracedHall(settings, store, rights, registry, events, tracer=tracer)
        # It is one of the gatherings' tasks, so that none comes when their nursery has ended.
        gatherings.start_soon(_close_when_cancelled, registry)
        if beats is not None and ownership is not None:
            local_node = LocalNode(beats, registry, ownership)
            be_one_of(hall, local_node)
            gatherings.start_soon(local_node.run)
        if not follows:
            take_up(registry, slept)
        try:
            yield hall
            await hall.close()
        finally:
            registry.give_up()
            nursery.cancel_scope.cancel()


async def _close_when_cancelled(registry: Registry) -> None:
    """Let nobody in any more, as soon as the gatherings are cancelled from outside."""
    try:
        await trio.sleep_forever()
    finally:
        registry.give_up()


async def _hold_nursery(*, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    """Keep the nursery of the gatherings, which can so be cancelled without its user."""
    async with trio.open_nursery() as nursery:
        task_status.started(nursery)
        await trio.sleep_forever()
