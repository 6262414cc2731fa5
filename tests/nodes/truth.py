"""The truth of lives on several nodes: what must hold of all that they say and acknowledge."""

from collections import Counter
from typing import Any

import trio
from attrs import define, field

from squire_gatherings._hall.connection import Connection
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.events import EventKind, LifecycleEvent
from squire_gatherings._values.messages import (
    Dispersed,
    Error,
    Forward,
    ForwardBatch,
    Joined,
    ServerMessage,
    Synced,
)
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings.testing import SharedMemory

AFTERMATH = 2.0
"""How many seconds pass until all is as before, when something was wrong."""


class Broken(AssertionError):
    """Something doesn't hold that must."""


def require(holds: object, text: str) -> None:
    """Raise `Broken` unless something holds."""
    if not holds:
        raise Broken(f"{text} (at {trio.current_time():g})")


@define(eq=False)
class Truth:
    """What is known so far."""

    shared: SharedMemory
    acknowledged: dict[tuple[str, str], tuple[int, ...]] = field(factory=dict)
    """The seqs of a gathering's syncs, by their ids."""
    shown: dict[str, dict[int, Any]] = field(factory=dict)
    """The ops that somebody was shown, by gathering and seq."""
    incarnations: dict[str, list[str]] = field(factory=dict)
    """Those of each gathering that have shown something, in order."""
    ended: dict[str, str] = field(factory=dict)
    """Why incarnations have ended for good, as clients were told."""
    events: list[LifecycleEvent] = field(factory=list)
    """Each once, in the order in which they came first."""
    event_ids: set[str] = field(factory=set)
    troubles: list[tuple[float, float]] = field(factory=list)
    """When something was wrong with a node, or one had just gone."""
    late_checks: int = 0
    """Of how many ends it was checked that they came on time."""
    failures: list[Broken] = field(factory=list)

    def is_well(self, since: float, until: float) -> bool:
        """Whether nothing was wrong in a time."""
        return all(end < since or begin > until for begin, end in self.troubles)

    def check_owner(self, gathering: str, node: str, what: str) -> None:
        """A node may show something of a gathering that is its own now."""
        owner = self.shared._shared.owner_of(gathering)
        require(owner == node, f"{node} shows {what} of {gathering}, which {owner!r} has")

    def spoke(self, gathering: str, incarnation: str) -> None:
        """An incarnation shows something, or acknowledges."""
        known = self.incarnations.setdefault(gathering, [])
        if not known or known[-1] != incarnation:
            require(incarnation not in known, f"{incarnation} speaks after another one has")
            known.append(incarnation)
        require(incarnation not in self.ended, f"{incarnation} speaks after its end")

    def showed(self, gathering: str, seq: int, op: Any) -> None:
        """Somebody is shown an op."""
        seen = self.shown.setdefault(gathering, {})
        require(seen.setdefault(seq, op) == op, f"op {seq} of {gathering} is another one now")

    def synced(self, gathering: str, sync_id: str, seqs: tuple[int, ...]) -> None:
        """A sync is acknowledged: what it says is durable, and always the same."""
        key = gathering, sync_id
        known = self.acknowledged.setdefault(key, seqs)
        require(known == seqs, f"{sync_id} has the seqs {known} and {seqs}")
        log = self.shared._shared.logs.get(gathering)
        ops = [] if log is None else list(log.slice(seqs[0] - 1, seqs[-1]))
        found = [one.op.value for one in ops]
        require(found == [{"n": sync_id}], f"{sync_id} is at {seqs}, where {found} is")

    async def told(self, event: LifecycleEvent) -> None:
        """An event is delivered."""
        await trio.lowlevel.checkpoint()
        if event.id not in self.event_ids:
            self.event_ids.add(event.id)
            self.events.append(event)

    def check_end(self) -> None:
        """Check what must hold when all has ended."""
        for error in self.failures:
            raise error
        shared = self.shared._shared
        for gathering, log in shared.logs.items():
            ops = [one.op.value["n"] for one in log.slice(0, log.seq)]
            twice = [one for one, count in Counter(ops).items() if count > 1]
            require(not twice, f"{twice} were applied twice")
            for seq, op in self.shown.get(gathering, {}).items():
                require(seq <= len(ops) and {"n": ops[seq - 1]} == op, f"op {seq} isn't {op}")
        for (gathering, sync_id), seqs in self.acknowledged.items():
            self.synced(gathering, sync_id, seqs)
        require(not shared.asleep, f"{list(shared.asleep)} sleep, and nobody has them")
        owners = {
            one: owned.owner for one, owned in shared.owned.items() if owned.owner in shared.nodes
        }
        owners.pop(":events", None)
        require(not owners, f"{owners} are somebody's, though nothing lives")
        self._check_events()

    def _check_events(self) -> None:
        open_in: dict[str, str] = {}
        seen: set[str] = set()
        for event in self.events:
            about = f"{event.kind} of {event.incarnation}"
            living = open_in.get(event.gathering)
            if event.kind is EventKind.OPENED:
                require(living is None, f"{about}, while {living} is open")
                require(event.incarnation not in seen, f"{about} comes again")
                seen.add(event.incarnation)
                open_in[event.gathering] = event.incarnation
            else:
                require(living == event.incarnation, f"{about}, while {living} is open")
            if event.kind is EventKind.DISPERSED:
                del open_in[event.gathering]
                require(event.data["reason"] != "crashed", about)
                self._check_lateness(event)
                told, reason = self.ended.get(event.incarnation), event.data["reason"]
                # What a node told before it died may not have become durable.
                require(told in (None, reason) or reason == "lost", f"{about}: {told}, {reason}")
        require(not open_in, f"nobody tells how {open_in} ended")

    def _check_lateness(self, event: LifecycleEvent) -> None:
        """Where nothing was wrong, a rule ends what it ends on time."""
        late = event.data["lateness"]
        if late is not None:
            at = event.time / 1000 - self.shared.clock() + trio.current_time()
            if self.is_well(at - late - AFTERMATH, at):
                self.late_checks += 1
                require(late < 0.05, f"the end of {event.incarnation} is {late} s late")


@define(eq=False)
class Watched(Connection):
    """A connection that checks what it is told, when it's told."""

    truth: Truth
    gathering: str
    node: str
    """The id of the node to which it leads."""
    incarnation: str = ""
    closed: CloseCode | None = None
    is_cut: bool = False
    """Whether the node was killed: what it says is heard by nobody."""
    seq: int = 0
    """The last op that it has."""
    pending: set[str] = field(factory=set)
    """Its syncs that weren't answered."""
    refused: set[str] = field(factory=set)
    """Those that are to be repeated."""
    _notices: int = 0

    def send(self, outgoing: Outgoing) -> None:
        """Check a message."""
        if self.is_cut or self.closed is not None:
            return
        try:
            self._check(outgoing.message)
        except Broken as error:
            self.truth.failures.append(error)

    def _check(self, message: ServerMessage) -> None:
        truth = self.truth
        require(not self._notices, "something comes after the notice")
        if isinstance(message, Dispersed):
            self._notices += 1
            require(message.reason != "crashed", f"{message.incarnation} has crashed")
            # One that sleeps is told `shutdown`, and goes on elsewhere.
            if message.reason not in ("moved", "shutdown"):
                known = truth.ended.setdefault(message.incarnation, message.reason)
                require(known == message.reason, f"{message.incarnation}: {known}, {message}")
            return
        if isinstance(message, Error):
            if message.id in self.pending:
                self.refused.add(message.id)
            return
        truth.check_owner(self.gathering, self.node, type(message).__name__)
        if isinstance(message, Joined):
            self.incarnation = message.incarnation
            for seq, op in enumerate(message.ops or (), start=self.seq + 1):
                self._has(seq, op.value)
        elif isinstance(message, Forward):
            self._has(message.seq, message.op.value)
        elif isinstance(message, ForwardBatch):
            for seq, op in enumerate(message.ops, start=message.seq):
                self._has(seq, op.value)
        elif isinstance(message, Synced):
            self.pending.discard(message.id)
            self.refused.discard(message.id)
            truth.synced(self.gathering, message.id, message.seqs)
            self._has(message.seqs[0], {"n": message.id})
        truth.spoke(self.gathering, self.incarnation)

    def _has(self, seq: int, op: Any) -> None:
        self.truth.showed(self.gathering, seq, op)
        if seq <= self.seq:
            # Again: it wasn't acknowledged, or its sync was repeated.
            return
        require(seq == self.seq + 1, f"op {seq} comes after op {self.seq}")
        self.seq = seq

    def close(self, code: CloseCode, reason: str) -> None:
        """Note that it is closed."""
        self.closed = self.closed or code

    @property
    def backlog(self) -> int:
        """Nothing."""
        return 0

    async def flush(self) -> None:
        """Nothing waits."""
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        """Note that it is gone."""
        self.is_cut = True
