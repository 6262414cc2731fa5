"""Requests: what a client has asked for and isn't answered. Told the time; it does no I/O."""

import logging
import secrets
from collections.abc import Iterable
from typing import Any

import outcome
from attrs import define, field

from squire_gatherings._client.answers import (
    FOR_THE_WIRE,
    PASSING,
    RATE_LIMITED,
    Answer,
    error_from,
)
from squire_gatherings._client.queue import Queue
from squire_gatherings._client.websocket import Lost
from squire_gatherings._rules.replica import Diverged, Pending, Replica
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import GatheringsError, LogReplaced, TooBig, Unauthorized
from squire_gatherings._values.messages import Error, Fetch, Fetched, Sync
from squire_gatherings._values.op import Op

_log = logging.getLogger(__name__)

Answered = tuple[int, ...]
"""The seqs of a sync."""


@define(eq=False)
class Look:
    """A fetch of an earlier state, and the answer that somebody waits for."""

    fetch: Fetch
    answer: Answer[Fetched] = field(factory=Answer[Fetched])


@define(eq=False)
class Requests:
    """The syncs and the fetch of one client that aren't answered, and who waits for the answers.

    Each goes out again on each new connection, a sync with the same id.
    """

    gathering_id: str
    replica: Replica
    """Its `pending` are the syncs."""
    queue: Queue
    """Those that may go out on this connection, by their ids."""
    is_open: bool = False
    """Whether there is a connection on which they may go out."""
    max_ops: int | None = None
    """How many ops the server takes in one sync, where it says so."""
    fetch: Fetch | None = None
    """What the reader lacks, and is asked for."""
    looks: dict[str, Look] = field(factory=dict)
    """Fetches of earlier states, by their ids, and who waits for them."""
    _fetch_failure: GatheringsError | None = None
    """What the reader is to be told of that."""
    _answers: dict[str, Answer[Answered]] = field(factory=dict)
    _told_too_big: bool = False
    """Whether the server has said on this connection that something is too big."""

    # What is asked for.

    def ask_to_sync(self, sync_id: str, ops: tuple[Op, ...]) -> Answer[Answered]:
        """Ask for a sync; return its answer to come. Raises `TooBig`, `ValueError`."""
        if self.max_ops is not None and len(ops) > self.max_ops:
            raise TooBig(f"a sync has at most {self.max_ops} ops here, not {len(ops)}")
        pending = self.replica.pending.get(sync_id)
        if pending is None:
            self.replica.submit(sync_id, ops)
            self._put(sync_id)
        elif sync_id in self._answers or pending.sync.ops != ops:
            raise ValueError(f"a sync with the id {sync_id!r} is under way")
        answer = self._answers[sync_id] = Answer[Answered]()
        return answer

    def withdraw(self, sync_id: str, answer: Answer[Answered]) -> None:
        """Take a sync back, if it never went out and nobody waits for another answer to it."""
        pending = self.replica.pending.get(sync_id)
        if pending is None or self._answers.get(sync_id) is not answer:
            return
        if not pending.sent and not pending.in_doubt:
            self.queue.forget(sync_id)
            self.replica.failed(sync_id)

    def leave(self, sync_id: str, answer: Answer[Answered]) -> None:
        """Nobody waits for this answer any more."""
        # Once this was answered, the same id may have been asked for again before we ran.
        if self._answers.get(sync_id) is answer:
            del self._answers[sync_id]

    def ask_to_fetch(self, since: int) -> None:
        """Ask for the ops after `since`. Raises, once, why that failed the last time."""
        if self._fetch_failure is not None:
            failure, self._fetch_failure = self._fetch_failure, None
            raise failure
        if self.fetch is None:
            self.fetch = Fetch(secrets.token_hex(8), since)
            self._put(self.fetch.id)

    def ask_to_look(self, fetch: Fetch) -> Answer[Fetched]:
        """Ask for an earlier state; return its answer to come."""
        look = self.looks[fetch.id] = Look(fetch)
        self._put(fetch.id)
        return look.answer

    def looked(self, fetched: Fetched) -> None:
        """An earlier state is there."""
        look = self.looks.pop(fetched.id)
        look.answer.give(outcome.Value(fetched))
        self.queue.done(fetched.id)

    def no_look(self, request_id: str) -> None:
        """Nobody waits for an earlier state any more."""
        if self.looks.pop(request_id, None) is not None:
            self.queue.forget(request_id)

    def _put(self, request_id: str) -> None:
        if self.is_open:
            self.queue.put((request_id,))

    def __bool__(self) -> bool:
        """Whether anything isn't answered."""
        return bool(self.replica.pending) or self.fetch is not None or bool(self.looks)

    # Connections begin and end.

    def begin(self, max_ops: int | None) -> None:
        """There is a new connection: everything goes out on it."""
        self.max_ops = max_ops
        self.is_open, self._told_too_big = True, False
        self.queue.put(self.replica.pending)
        if self.fetch is not None:
            self.queue.put((self.fetch.id,))
        self.queue.put(self.looks)

    def lost(self, code: int | None, now: float) -> None:
        """The connection has ended, with that close code."""
        if code == CloseCode.TOO_BIG and not self._told_too_big and self.queue.sent:
            try:
                self._refuse_one(TooBig("the server takes no message of that size"), now)
            except Diverged:
                self.replica.start_over()
        elif code == CloseCode.RATE_LIMIT:
            self.queue.pace.slower(now)
        self.is_open = False
        self.replica.lost()
        self.queue.clear()

    def start_over(self) -> None:
        """The log is another one: what was to be fetched isn't in it."""
        if self.fetch is not None:
            self.queue.forget(self.fetch.id)
        self.fetch = self._fetch_failure = None

    def fail(self, error: GatheringsError) -> None:
        """Nothing more will be answered."""
        looks = [look.answer for look in self.looks.values()]
        answers: list[Answer[Any]] = [*self._answers.values(), *looks]
        for answer in answers:
            # Many tasks raise it, each a copy of its own.
            copy = type(error)(*error.args)
            copy.__cause__ = error
            answer.give(outcome.Error(copy))

    # What goes out.

    def next(self, now: float) -> Sync | Fetch | None:
        """Return what goes out now, if anything may."""
        while (request_id := self.queue.pop(now)) is not None:
            pending = self.replica.pending.get(request_id)
            if pending is not None:
                pending.sent = True
            request = self.fetch_of(request_id) if pending is None else pending.sync
            if request is not None:
                self.queue.went(request_id, now)
                return request
        return None

    # Answers.

    def sync_of(self, request_id: str) -> Pending | None:
        """Return the sync with this id, if it isn't answered."""
        return self.replica.pending.get(request_id)

    def fetch_of(self, request_id: str) -> Fetch | None:
        """Return the fetch, if this is its id."""
        if request_id in self.looks:
            return self.looks[request_id].fetch
        return self.fetch if self.fetch is not None and self.fetch.id == request_id else None

    def synced(self, sync_id: str, seqs: Answered) -> None:
        """A sync was applied."""
        self._answer(sync_id, outcome.Value(seqs))

    def fetched(self, fetch: Fetch) -> None:
        """What was to be fetched is there."""
        self.fetch = None
        self.queue.done(fetch.id)

    def refused(self, request_id: str, error: GatheringsError) -> None:
        """The server refuses a request for good. Raises `Diverged`."""
        if request_id in self.looks:
            self.looks.pop(request_id).answer.give(outcome.Error(error))
            self.queue.done(request_id)
        elif self.fetch_of(request_id) is not None:
            self.fetch, self._fetch_failure = None, error
            self.queue.done(request_id)
        else:
            self._answer(request_id, outcome.Error(error))
            self.replica.failed(request_id)

    def failed(self, error: Error, now: float) -> None:
        """The server says that something failed. Raises `Lost`, `Diverged`."""
        if error.id is None:
            self._failed_unnamed(error.code, error.message, now)
            return
        self._told_too_big |= error.code == TooBig.code
        if self.sync_of(error.id) is None and self.fetch_of(error.id) is None:
            self._log(error.message)
        elif error.code == LogReplaced.code:
            raise Lost(error.message, CloseCode.LOG_REPLACED)
        elif error.code == Unauthorized.code:
            # Our rights have ended. They're renewed, or the connection ends.
            self.queue.hold((error.id,), now)
        elif error.code in PASSING:
            self._repeat((error.id,), error.code, now)
        else:
            self.refused(error.id, error_from(error.code, error.message))

    def _failed_unnamed(self, code: str, text: str, now: float) -> None:
        """The server doesn't say which request it means."""
        if code == LogReplaced.code:
            raise Lost(text, CloseCode.LOG_REPLACED)
        if code in FOR_THE_WIRE:
            raise Lost(f"the server says: {text}"[:500])
        self._told_too_big |= code == TooBig.code
        sent = tuple(self.queue.sent)
        if code in PASSING:
            self._repeat(sent, code, now)
        else:
            self._log(text)
            if sent:
                self._refuse_one(error_from(code, text), now)

    def _repeat(self, request_ids: Iterable[str], code: str, now: float) -> None:
        if code == RATE_LIMITED:
            self.queue.pace.slower(now)
        self.queue.repeat(request_ids, now)

    def _refuse_one(self, error: GatheringsError, now: float) -> None:
        """Refuse what was sent, or if that's several, find out which of them is meant."""
        sent = tuple(self.queue.sent)
        if len(sent) == 1:
            self.refused(sent[0], error)
        else:
            self.queue.suspect(sent, now)

    def _answer(self, sync_id: str, result: outcome.Outcome[Answered]) -> None:
        if sync_id in self._answers:
            self._answers[sync_id].give(result)
        self.queue.done(sync_id)

    def _log(self, text: str) -> None:
        _log.warning("the server says: %s", text[:500], extra={"gathering": self.gathering_id})
