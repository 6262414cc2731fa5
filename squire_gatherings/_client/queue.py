"""The queue: which request goes out next, and when; by their ids, told the time."""

import math
from collections import deque
from collections.abc import Iterable

from attrs import define, field

from squire_gatherings._client.pace import Pace


@define(eq=False)
class Queue:
    """The requests of one client, from when they are put in until they are answered.

    They go out in order and at once, but for four reasons: the server couldn't take one (it's
    repeated after a while), says that they're too many (they're paced), takes none until our rights
    are renewed (they're held), or has refused one without saying which (then they go out one at a
    time, so that its next refusal is clear).
    """

    pace: Pace
    repeat_interval: float
    sent: dict[str, None] = field(factory=dict)
    """Those that went out on this connection and aren't answered, in order."""
    _waiting: deque[str] = field(factory=deque)
    _postponed: list[str] = field(factory=list)
    """Those that go out again at `_repeat_at`."""
    _repeat_at: float = math.inf
    _is_held: bool = False
    """Whether nothing goes out until the server lets it."""
    _suspects: set[str] = field(factory=set)
    """An error didn't say which of these it was about."""

    def put(self, request_ids: Iterable[str]) -> None:
        """These are to go out."""
        self._waiting.extend(request_ids)

    def clear(self) -> None:
        """The connection is lost: nothing went out that counts. The suspects stay."""
        self._waiting.clear()
        self._postponed.clear()
        self.sent.clear()
        self._repeat_at = math.inf
        self._is_held = False

    def pop(self, now: float) -> str | None:
        """Return what may go out now, if anything; it counts as `sent` once it is `went`."""
        if self._is_held:
            return None
        if now >= self._repeat_at:
            self._repeat_at = math.inf
            self._waiting.extendleft(reversed(self._postponed))
            self._postponed.clear()
        while self._waiting and not self._must_wait and now >= self.pace.next_at:
            request_id = self._waiting.popleft()
            if request_id not in self.sent:
                return request_id
        return None

    def went(self, request_id: str, now: float) -> None:
        """This goes out."""
        self.sent[request_id] = None
        self.pace.sent(now)

    @property
    def next_at(self) -> float:
        """When something may go out, if nothing happens before."""
        if self._is_held:
            return math.inf
        if self._waiting and not self._must_wait:
            return min(self._repeat_at, self.pace.next_at)
        return self._repeat_at

    def repeat(self, request_ids: Iterable[str], now: float) -> None:
        """The server couldn't take these: they go out again, after a while."""
        for request_id in request_ids:
            self.sent.pop(request_id, None)
            self._postponed.append(request_id)
        self._repeat_at = min(self._repeat_at, now + self.repeat_interval)

    def hold(self, request_ids: Iterable[str], now: float) -> None:
        """The server takes none until it says so: these and all others go out then."""
        self._is_held = True
        self.repeat(request_ids, now)

    def go_on(self, now: float) -> None:
        """The server takes requests again."""
        if self._is_held:
            self._is_held = False
            self._repeat_at = now

    def suspect(self, request_ids: Iterable[str], now: float) -> None:
        """One of these was refused: each goes out again, alone."""
        request_ids = tuple(request_ids)
        self._suspects.update(request_ids)
        self.repeat(request_ids, now)

    def done(self, request_id: str) -> None:
        """This was answered."""
        self.pace.answered()
        self.forget(request_id)

    def forget(self, request_id: str) -> None:
        """Nobody wants this any more."""
        self.sent.pop(request_id, None)
        self._suspects.discard(request_id)

    @property
    def _must_wait(self) -> bool:
        # Other errors that were under way come before one goes out alone.
        return bool(self._suspects and (self.sent or self._postponed))
