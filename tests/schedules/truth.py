"""Truth: what must hold in every order."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import trio
from attrs import define, field

from squire_gatherings._hall.hall import Hall
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import (
    GatheringCrashed,
    GatheringsError,
    Replaced,
    StoreUnavailable,
    Unauthorized,
)
from squire_gatherings._values.log import Page
from squire_gatherings._values.messages import (
    Dispersed,
    Error,
    Forward,
    ForwardBatch,
    Joined,
    ServerMessage,
    Sync,
    Synced,
)
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings.testing import Recorder
from tests.model.traces import Event

WHO = ("anna", "bob")
"""The clients, as the model numbers them."""

TOLD = (CloseCode.DISPERSED, CloseCode.CRASHED, CloseCode.GOING_AWAY)
"""With these codes a gathering ends."""

REFUSALS = (GatheringCrashed, Replaced, StoreUnavailable, Unauthorized)
"""For these reasons a join may fail."""


class Tap(Recorder):
    """A connection: looks at each message when it comes."""

    def __init__(self, truth: "Truth", name: str, room: str, durable: Mapping[str, int]) -> None:
        super().__init__()
        self.truth = truth
        self.name = name
        self.room = room
        self.durable = durable
        self.last_seq = 0
        self.refused: GatheringsError | None = None
        self.is_cut = False
        self.is_leaving = False
        self.is_put_out = False
        self.open_requests: dict[str, float] = {}
        """What it has asked within its gathering, and when."""
        self.requests: set[str] = set()
        self.answers: Counter[tuple[str, str]] = Counter()

    def note(self, what: str, *more: int) -> None:
        """Note what the model is to explain."""
        self.truth.trace.append((what, WHO.index(self.name), *more))

    def close(self, code: CloseCode, reason: str) -> None:
        """Note that the hall closes it, if it was let in."""
        if self.of(Joined) and not (self.closed or self.is_cut):
            # Where the gathering goes on, that is as if the connection were lost.
            self.note("gone" if code in TOLD else "cut")
        super().close(code, reason)

    def asked(self, sync_id: str, *, goes_on: bool) -> None:
        """Note that it has asked, while nobody has told it of an end."""
        if goes_on and not self.closed:
            self.truth.used_at = trio.current_time()
            self.open_requests[sync_id] = trio.current_time()
            self.requests.add(sync_id)
            self.note("says", number_of(sync_id))

    def send(self, outgoing: Outgoing) -> None:
        """Look at a message. The hall would take an exception for a broken connection."""
        try:
            self._check(outgoing.message)
        except AssertionError as error:
            self.truth.faults.append(error)
        super().send(outgoing)

    def _check(self, message: ServerMessage) -> None:
        durable = self.durable.get(self.room, 0)
        now = trio.current_time()
        assert not self.of(Dispersed), "a notice is the last message"
        assert not self.is_cut, "it has gone, and is told something"
        if isinstance(message, Synced):
            assert max(message.seqs) <= durable, "acknowledged, and not durable"
            seqs = self.truth.acknowledged.setdefault(message.id, message.seqs)
            assert seqs == message.seqs, "acknowledged under two seqs"
            self.open_requests.pop(message.id, None)
            self.answers[message.id, "synced"] += 1
            self.note("acked", number_of(message.id), *message.seqs)
            self.last_seq = max(self.last_seq, *message.seqs)
        elif isinstance(message, Forward):
            self._see(message.seq, message.op.value, durable)
        elif isinstance(message, ForwardBatch):
            for seq, op in enumerate(message.ops, start=message.seq):
                self._see(seq, op.value, durable)
        elif isinstance(message, Joined):
            assert message.seq <= durable, "shown, and not durable"
            self.truth.lives(message.incarnation)
            self.note("in")
            self.truth.used_at = now
            assert isinstance(message.ops, tuple)
            for seq, op in enumerate(message.ops, start=1):
                self._see(seq, op.value, durable)
        elif isinstance(message, Error) and isinstance(message.id, str):
            # One that is kept while the store is away is confirmed later.
            self.answers[message.id, "error"] += 1
            self.open_requests.pop(message.id, None)
        elif isinstance(message, Dispersed):
            self.truth.ends(message.incarnation)
            if message.reason == "idle":
                early = [at for at in self.open_requests.values() if at + self.truth.idle > now]
                assert not early, "it ends too early: a message had come in before"
                assert message.idle_for >= self.truth.idle, "it ends too early"
                latest = max(self.truth.used_at + self.truth.idle, self.truth.woke_at)
                assert now <= latest, f"it ends too late: {now} > {latest}"

    def _see(self, seq: int, op: Any, durable: int) -> None:
        assert seq <= durable, "shown, and not durable"
        assert self.truth.seen.setdefault(seq, op) == op, "a seq means one op for ever"
        self.last_seq = max(self.last_seq, seq)

    def look(self) -> None:
        """Check what holds of it whenever all is quiet."""
        assert len(self.closed) <= 1, "closed once"
        assert all(count == 1 for count in self.answers.values()), "answered twice"
        is_told = len(self.of(Dispersed))
        if self.closed and self.closed[0][1] in TOLD:
            assert is_told == 1, f"closed with {self.closed}, and told {is_told} times"
        assert self.refused is None or isinstance(self.refused, REFUSALS), repr(self.refused)
        if not (self.closed or self.is_cut or self.refused):
            assert not self.open_requests, "it waits for answers for ever"
            for sync_id in self.requests & self.truth.logged:
                assert self.answers[sync_id, "synced"], "its sync is durable, and it isn't told"


def number_of(sync_id: str) -> int:
    """Return which of its client's messages a sync is, from 0 on."""
    return int(sync_id.split()[1]) - 1


@define(eq=False)
class Truth:
    """What is known of one gathering."""

    idle: float = 10.0
    acknowledged: dict[str, tuple[int, ...]] = field(factory=dict)
    seen: dict[int, Any] = field(factory=dict)
    taps: list[Tap] = field(factory=list)
    ended: set[str] = field(factory=set)
    living: str | None = None
    logged: set[str] = field(factory=set)
    """The ids of all syncs that are durable."""
    used_at: float = 0.0
    """When something that counts happened last."""
    woke_at: float = 0.0
    """When the hall could see last that time had passed: the clock was set forward, or the store
    said what became of an append."""
    faults: list[AssertionError] = field(factory=list)
    trace: list[Event] = field(factory=list)
    """What the model is to explain."""

    def reset(self) -> None:
        """Begin with another gathering."""
        self.acknowledged, self.seen, self.taps = {}, {}, []
        self.ended, self.living, self.logged, self.trace = set(), None, set(), []
        self.used_at = self.woke_at = 0.0

    def tap(self, name: str, room: str, durable: Mapping[str, int]) -> Tap:
        """Return a new connection."""
        tap = Tap(self, name, room, durable)
        self.taps.append(tap)
        return tap

    def lives(self, incarnation: str) -> None:
        """An incarnation lets somebody in: it's the only one, and hasn't ended."""
        assert incarnation not in self.ended, "one that has ended lets somebody in"
        if self.living not in (None, incarnation):
            assert not any(
                one.of(Joined) and one.of(Joined)[-1].incarnation == self.living
                for one in self.taps
                if not (one.closed or one.is_cut or one.is_leaving)
            ), "two incarnations have clients"
        self.living = incarnation

    def ends(self, incarnation: str) -> None:
        """An incarnation says that it ends."""
        self.ended.add(incarnation)

    def look(self) -> None:
        """Check what holds whenever all is quiet."""
        for tap in self.taps:
            tap.look()
        for fault in self.faults:
            raise fault

    def all_has_ended(self, hall: Hall, room: str) -> None:
        """Nobody has used it for long: it has ended, and everybody was told."""
        self.look()
        assert room not in hall.gatherings(), "it lives, and nobody uses it"
        for tap in self.taps:
            assert tap.closed or tap.is_cut or tap.refused, f"{tap.name} was told nothing"

    def is_the_log(self, page: Page, said: Iterable[Sync]) -> None:
        """Everything was repeated: each op is there, once, where it was acknowledged."""
        log = {seq: op.value for seq, op in enumerate(page.ops or (), start=1)}
        names = [op["by"] for op in log.values()]
        assert sorted(names) == sorted(sync.id for sync in said), "each sync is applied once"
        for sync_id, [seq] in self.acknowledged.items():
            assert log[seq]["by"] == sync_id, "what was acknowledged is lost"
        assert self.seen.items() <= log.items(), "what was shown is lost"
