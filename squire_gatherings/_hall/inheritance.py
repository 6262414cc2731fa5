"""Inheritance: what an incarnation goes on with that another process has begun.

Its log is restored from the store, as ever. Here is what only that process knew.
"""

import trio
from attrs import field, frozen
from msgspec import UNSET

from squire_gatherings._hall.clients import Client, Paging
from squire_gatherings._hall.connection import Connection
from squire_gatherings._hall.room import Room
from squire_gatherings._rules.delivery_window import DeliveryWindow
from squire_gatherings._values.errors import StoreConflict
from squire_gatherings._values.extras import extras
from squire_gatherings._values.handover import ClientState, HeldAnswer, RoomState
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.messages import Synced
from squire_gatherings._values.op import Op


@frozen(eq=False)
class Inheritance:
    """What one incarnation inherits."""

    state: RoomState
    ahead: float
    """How many seconds Trio's clock is ahead of the one that both processes have."""
    ours: trio.Event = field(factory=trio.Event)
    """Set once the gathering is this process's: nothing is done for anybody before."""

    def apply(self, room: Room) -> None:
        """Have a room that was just restored go on where it was.

        Raises:
            StoreConflict: It isn't the log that the other process had.
        """
        state = self.state
        if room.log.committed != state.seq:
            what = f"the store has {room.log.committed} ops of {room.id}, not {state.seq}"
            raise StoreConflict(what)
        room.deadline.resume(state.deadline, self.ahead)
        room.processed, room.is_wanted = state.processed, state.is_wanted
        room.numbered = state.numbered


def take_in(room: Room, state: ClientState, connection: Connection, ahead: float) -> Client:
    """Take a client in that was in the room before, with the connection that it has now."""
    settings = room.settings
    window = DeliveryWindow(settings.retry_interval, settings.retry_limit, 0)
    window.resume(state.window, ahead)
    client = Client(
        state.number,
        connection,
        Identity(state.user, state.role, state.expires_at),
        state.vouched,
        state.scope,
        window,
        asked=state.asked,
        extras=extras(times=state.times, syncs=state.syncs),
        proof=state.proof,
        joined_at=state.joined_at,
        acked=state.acked,
        leaving=state.leaving,
    )
    if client.is_mute:
        client.paging = Paging.MUTED
    if state.held:
        client.held = [_held(one) for one in state.held]
        client.waiting = len(client.held)
    room.attach(client)
    return client


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
