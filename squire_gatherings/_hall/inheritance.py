"""Inheritance: what an incarnation goes on with that another process has begun.

Its log is restored from the store, as ever, while the other process still has it. It follows that
one's until it is ours: it takes over the ops that come, and what only the other process knows.
"""

from attrs import define, evolve
from msgspec import UNSET

from squire_gatherings._hall.clients import Client, Paging
from squire_gatherings._hall.connection import Connection
from squire_gatherings._hall.room import Room
from squire_gatherings._rules.behaviour import Stamp
from squire_gatherings._rules.delivery_window import DeliveryWindow
from squire_gatherings._rules.op_log import OpLog
from squire_gatherings._values.errors import StoreConflict
from squire_gatherings._values.extras import extras
from squire_gatherings._values.handover import ClientState, HeldAnswer, LaterOps, RoomState
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.log import LoggedOp, SyncRecord
from squire_gatherings._values.messages import Synced
from squire_gatherings._values.op import Op


@define(eq=False)
class Inheritance:
    """What one incarnation inherits: where it is in the other process, as we were told last."""

    state: RoomState
    ahead: float
    """How many seconds Trio's clock is ahead of the one that both processes have."""
    is_ours: bool = False
    """Whether it is this process's by now: nothing is done for anybody before."""

    def apply(self, room: Room) -> None:
        """Have a room that was restored be where it is in the other process."""
        state = self.state
        room.deadline.rules = room.given.rules
        room.deadline.resume(state.deadline, self.ahead)
        room.processed, room.is_wanted = state.processed, state.is_wanted
        room.numbered = state.numbered

    def check(self, room: Room) -> None:
        """Raise `StoreConflict` if the log isn't the one that the other process has."""
        if room.log.committed != self.state.seq:
            what = f"the store has {room.log.committed} ops of {room.id}, not {self.state.seq}"
            raise StoreConflict(what)


def later_ops(room: Room, seq: int) -> LaterOps | None:
    """Return what a log has had after `seq`; None for nothing, and where not all is in memory."""
    found = room.log.since(seq)
    if found is None or not (found[0] or found[1]):
        return None
    ops, syncs = found
    return LaterOps(
        seq + 1,
        [logged.json for logged in ops],
        [logged.by for logged in ops],
        [logged.time for logged in ops],
        [(one.scope, one.id, one.first_seq, one.count, one.fingerprint) for one in syncs],
        room.log.head if room.log.head_seq == room.log.committed else b"",
    )


def follow(room: Room, state: RoomState) -> bool:
    """Have a room's log, and its behaviour, go on to where another process is.

    Returns:
        False if ops are missing: then it must be restored anew.

    Raises:
        Exception: What the behaviour raises.
    """
    log, later = room.log, state.later
    if later is not None and later.first <= log.seq + 1:
        known = log.seq + 1 - later.first
        ops = [
            LoggedOp(json, by, room.incarnation, time)
            for json, by, time in zip(
                later.ops[known:], later.by[known:], later.times[known:], strict=True
            )
        ]
        syncs = [
            one for one in (SyncRecord(*each) for each in later.syncs) if _ends_after(one, log)
        ]
        for seq, logged in enumerate(ops, log.seq + 1):
            room.behaviour.fold(logged.op, Stamp(seq, logged.time, logged.by))
        log.follow(ops, syncs, later.head)
        if room.log_is_limited:
            room.log_bytes += sum(len(logged.json) for logged in ops)
    return log.seq >= state.seq


def _ends_after(record: SyncRecord, log: OpLog) -> bool:
    return record.last_seq > log.seq or not record.count


def take_in(room: Room, state: ClientState, connection: Connection, ahead: float) -> Client:
    """Take a client in that is in the room elsewhere, with the connection that it has here."""
    settings = room.settings
    client = Client(
        state.number,
        connection,
        Identity(state.user, state.role, state.expires_at),
        state.vouched,
        state.scope,
        DeliveryWindow(settings.retry_interval, settings.retry_limit, 0),
        asked=state.asked,
        extras=extras(times=state.times, syncs=state.syncs),
        proof=state.proof,
        joined_at=state.joined_at,
    )
    bring_up(client, state, ahead)
    room.attach(client)
    return client


def bring_up(client: Client, state: ClientState, ahead: float) -> None:
    """Have a client be where it is elsewhere."""
    identity = client.identity
    if (identity.role, identity.expires_at) != (state.role, state.expires_at):
        client.identity = evolve(identity, role=state.role, expires_at=state.expires_at)
    client.window.resume(state.window, ahead)
    client.acked, client.leaving = state.acked, state.leaving
    client.paging = Paging.MUTED if client.is_mute else Paging.NO
    client.held = [_held(one) for one in state.held] if state.held else None
    client.waiting = len(client.held) if client.held else 0


def held_state(client: Client) -> list[HeldAnswer] | None:
    """Return the answers that wait until a client has what comes before them."""
    if not client.held:
        return None
    found: list[HeldAnswer] = []
    for seqs, answer in client.held:
        # Nothing else is ever held back.
        assert isinstance(answer, Synced)
        ops = answer.ops if isinstance(answer.ops, tuple) else None
        found.append(
            HeldAnswer(
                seqs.start,
                seqs.stop,
                answer.id,
                answer.seqs,
                None if ops is None else tuple(op.json for op in ops),
                answer.time if isinstance(answer.time, int) else None,
            )
        )
    return found


def _held(one: HeldAnswer) -> tuple[range, Synced]:
    ops = UNSET if one.ops is None else tuple(map(Op, one.ops))
    time = UNSET if one.time is None else one.time
    return range(one.first, one.stop), Synced(one.id, one.seqs, ops, time)
