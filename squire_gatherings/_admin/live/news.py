"""News: what one viewer doesn't know yet.

Nothing is queued for a viewer. It is told what differs from what it was told last, once it has
taken that: a slow one is told less often, and the last word all the same.
"""

from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from typing import TypeVar

import msgspec
import trio
from attrs import define, field
from msgspec import UNSET, UnsetType

from squire_gatherings._admin.api.end_shapes import End
from squire_gatherings._admin.api.ends import here_shape, rules_shape
from squire_gatherings._admin.api.gatherings import member_shape
from squire_gatherings._admin.api.hall import end_shape
from squire_gatherings._admin.api.nodes import nodes_shape
from squire_gatherings._admin.live import shapes
from squire_gatherings._admin.live.shapes import Close, HallNow, News, Row, Why, instant, row_of
from squire_gatherings._admin.live.viewers import Viewers
from squire_gatherings._cluster.node import local_node_of
from squire_gatherings._hall.board import MOST, Board, Order, View
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.observing import Observer
from squire_gatherings._values.end_rules import Explanation
from squire_gatherings._values.errors import GatheringDispersed, HallClosed
from squire_gatherings._values.numbers import Stage

T = TypeVar("T")

PERIOD = 1.0
"""How many seconds pass between two pieces of news, unless something is due sooner."""

SOONEST = 0.1
"""How many seconds pass at least."""

AFTER = 0.05
"""How many seconds after an end that is seen there is news: the viewer is to see the zero."""

SHARE = 20
"""All walks together take at most this part of the time."""

AHEAD = 100
"""How many rows more are looked for than are seen."""

MOST_ENDS = 1000
"""How many ends are told at once."""

MOST_MEMBERS = 50
"""How many members are told of."""


@define(eq=False)
class Watched:
    """What all viewers look at."""

    hall: Hall
    observer: Observer
    board: Board
    viewers: Viewers = field(factory=Viewers)


@define(eq=False)
class Reporter:
    """Finds out what one viewer doesn't know yet."""

    _watched: Watched
    next_at: float = 0.0
    """When there may be news again."""
    _view: View | None = None
    _order: Order | None = None
    _order_until: float = 0.0
    _rows: dict[str, Row] = field(factory=dict)
    _ends: int = 0
    """How many ends it knows of, or was too late for."""
    _hall: HallNow | None = None
    _part: shapes.Order | None = None
    _close: Close | None = None

    async def report(self, asked: shapes.Asked) -> News:
        """Return what has changed, of what is asked for.

        Cancellation: the viewer is told nothing more, so that it must begin anew.
        """
        order = await self._ordered(asked.view, asked.offset + asked.count)
        close = await self._look_closely(asked.gathering)
        # No checkpoint from here on: all of it is of one moment.
        now = trio.current_time()
        ids = order.ids[asked.offset : asked.offset + asked.count]
        rows = {line.gathering: row_of(line) for line in self._watched.board.lines(ids)}
        part = shapes.Order(offset=asked.offset, ids=tuple(rows), matched=order.matched)
        ends, missed = self._news_of_ends()
        news = News(
            now=round(now, 4),
            wall=round(self._watched.observer.wall(), 3),
            number=asked.number,
            rows=tuple(row for row in rows.values() if self._rows.get(row.id) != row),
            ends=ends,
            missed=missed,
            hall=_if_new(self._now(), self._hall),
            order=_if_new(part, self._part),
        )
        local = local_node_of(self._watched.hall)
        if local is not None:
            news.nodes = nodes_shape(local, news.wall)
        if asked.gathering is not None:
            assert close is not None
            news.close = _if_new(close, self._close)
        self._hall, self._part, self._rows, self._close = self._now(), part, rows, close
        self.next_at = self._due(now, rows.values())
        return news

    def _due(self, now: float, rows: Iterable[Row]) -> float:
        """Return when to look again: soon after the next end that is seen, or in a while."""
        due = (row.at for row in rows if row.at is not None and row.at > now)
        return max(now + SOONEST, min(now + PERIOD, min(due, default=now + PERIOD) + AFTER))

    async def _ordered(self, view: View, last: int) -> Order:
        """Return the order of a view, at least as far as the last row that is seen."""
        now, order = trio.current_time(), self._order
        is_old = order is None or view != self._view or now >= self._order_until
        if order is None or is_old or last > len(order.ids) < min(order.matched, MOST):
            # Somebody who scrolls goes on.
            order = self._order = await self._watched.board.order(view, 2 * last + AHEAD)
            pause = SHARE * order.cost * len(self._watched.viewers)
            self._view, self._order_until = view, trio.current_time() + max(PERIOD / 2, pause)
        return order

    def _now(self) -> HallNow:
        observer = self._watched.observer
        stages = observer.stages
        return HallNow(
            open=stages[Stage.OPEN],
            opening=stages[Stage.OPENING],
            asleep=stages[Stage.ASLEEP],
            ending=stages[Stage.ENDING],
            clients=observer.clients,
            messages=observer.tally.messages,
            opened=observer.opened,
            ended=sum(observer.ended.values()),
            closing=observer.is_closed,
        )

    def _news_of_ends(self) -> tuple[tuple[End, ...], int]:
        tally = self._watched.observer.tally
        total = sum(tally.lifetimes.counts)
        new, self._ends = total - self._ends, total
        told = min(new, MOST_ENDS, len(tally.last))
        newest = tuple(islice(reversed(tally.last), told))
        return tuple(end_shape(one) for one in reversed(newest)), new - told

    async def _look_closely(self, gathering: str | None) -> Close | None:
        if gathering is None:
            return None
        watched = self._watched
        members = await watched.observer.members(gathering, after=0, limit=MOST_MEMBERS)
        rows = [row_of(line) for line in watched.board.lines([gathering])]
        why, here = None, None
        with suppress(GatheringDispersed, HallClosed):
            why = _why(watched.hall.explain(gathering))
            here = here_shape(watched.hall, gathering)
        end = None
        if not rows:
            last = reversed(watched.observer.tally.last)
            end = next((one for one in last if one.gathering == gathering), None)
        return Close(
            id=gathering,
            row=rows[0] if rows else None,
            why=why,
            members=tuple(member_shape(one) for one in members),
            end=None if end is None else end_shape(end),
            sleep_after=watched.hall.settings.sleep_after,
            here=here,
        )


def _if_new(now: T, before: object) -> T | UnsetType:
    return UNSET if now == before else now


def _why(said: Explanation) -> Why:
    return Why(
        at=instant(said.deadline),
        rule=said.rule,
        ends={str(rule): round(at, 3) for rule, at in said.ends.items() if instant(at) is not None},
        held_until=None if said.held_until is None else instant(said.held_until),
        warns_at=None if said.warns_at is None else instant(said.warns_at),
        warned=said.warned,
        rules=rules_shape(said.rules),
        moved=shapes.Moved(what=said.moved.what, by=said.moved.by, at=round(said.moved.at, 3)),
    )


def event(message: msgspec.Struct) -> bytes:
    """Return a message as a server-sent event."""
    return b"data: " + msgspec.json.encode(message) + b"\n\n"
