"""Forwards: committed ops as messages, encoded once for all who lack the same."""

from collections.abc import Sequence

from attrs import define, field
from msgspec import UNSET

from squire_gatherings._hall.clients import Client
from squire_gatherings._hall.room import Room
from squire_gatherings._values.extras import PLAIN, Extras
from squire_gatherings._values.log import LoggedOp
from squire_gatherings._values.messages import Forward, ForwardBatch, ServerMessage, SyncRun
from squire_gatherings._values.outgoing import Outgoing

CROWD = 128
"""How many clients are brought a batch before other gatherings get their turn.

Fewer where the batch is large: each message counts as one, and each `WEIGHT` bytes of ops as one
more.
"""

WEIGHT = 8 * 1024
SMALL = 8
"""So few clients are brought a batch in one turn, however large it is."""

BLOCK = 64
"""How many ops go into one message where many clients lack different parts of a batch."""


def forward_of(
    incarnation: str,
    first: int,
    entries: Sequence[LoggedOp],
    extras: Extras = PLAIN,
    syncs: tuple[SyncRun, ...] = (),
) -> Outgoing:
    """Return the forward of consecutive ops, with what else is asked for.

    `first` is the first one's seq, and `syncs` are those that they came from, as far as they are
    known. The epoch is left out where it is that of `incarnation`.
    """
    epoch = entries[-1].epoch
    said = UNSET if epoch == incarnation else epoch
    message: ServerMessage
    if len(entries) == 1:
        only = entries[0]
        time = only.time if extras.times else UNSET
        sync = syncs[0] if syncs and extras.syncs else UNSET
        message = Forward(first, only.by, only.op, said, time, sync)
    else:
        by = tuple(one.by for one in entries)
        of_each = tuple(one.time for one in entries) if extras.times else UNSET
        ops, known = tuple(one.op for one in entries), syncs if extras.syncs else UNSET
        message = ForwardBatch(first, by, ops, said, of_each, known)
    return Outgoing(message)


def forwards_of(room: Room, after: int, up_to: int, extras: Extras = PLAIN) -> list[Outgoing]:
    """Return the forwards of the ops from `after` + 1 to `up_to`, all of them in memory."""
    forwards: list[Outgoing] = []
    while after < up_to:
        entries = room.log.slice(after, up_to, room.settings.batch_bytes)
        first, last = after + 1, after + len(entries)
        syncs = room.log.syncs_of(after, last) if extras.syncs else ()
        forwards.append(forward_of(room.incarnation, first, entries, extras, syncs))
        after = last
    return forwards


@define(eq=False)
class Batch:
    """The ops that were committed together: those after `after`, to the end of what is durable."""

    room: Room
    after: int
    behind: list[Client]
    """The clients that it wasn't brought to yet."""
    weight: int = 1
    """How many of a `CROWD` a client counts as that is brought the whole batch; see `WEIGHT`."""
    _encoded: dict[tuple[int, int, Extras], list[Outgoing]] = field(factory=dict)

    def forwards(self, after: int, up_to: int, extras: Extras = PLAIN) -> list[Outgoing]:
        """Return the forwards of the ops from `after` + 1 to `up_to`, encoded at most once.

        Clients that ask for other `extras` get other messages.
        """
        found = self._encoded.get((after, up_to, extras))
        if found is not None:
            return found
        count = up_to - after
        room = self.room
        if after == self.after and up_to == room.log.committed:
            forwards = forwards_of(room, after, up_to, extras)
            if len(room.clients) > SMALL:
                self._weigh(forwards)
        elif count == 1 or (count == BLOCK and after % BLOCK == 0):
            forwards = forwards_of(room, after, up_to, extras)
        else:
            # Each author lacks the two parts around its own ops, so all of them lack different
            # parts. A message for each part would be quadratic. Instead, all share blocks that
            # begin at the same places, and single ops at the blocks' edges.
            forwards = []
            while after < up_to:
                whole = after % BLOCK == 0 and after + BLOCK <= up_to
                step = BLOCK if whole else 1
                forwards += self.forwards(after, after + step, extras)
                after += step
            after = up_to - count
        self._encoded[after, up_to, extras] = forwards
        return forwards

    def _weigh(self, forwards: list[Outgoing]) -> None:
        log = self.room.log
        entries = log.slice(self.after, log.committed, WEIGHT * CROWD)
        self.weight = len(forwards) + sum(len(one.json) for one in entries) // WEIGHT
