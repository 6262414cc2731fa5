"""Time travel: answers a fetch as if the log ended at an earlier op.

The state is folded by a behaviour of its own, from the newest snapshot before that op on, in steps
that are so short that others get their turn. Nothing is shown that isn't committed.
"""

import logging
from collections.abc import Callable

import msgspec
import trio
from attrs import define
from msgspec import UNSET

from squire_gatherings._hall.answers import Answers
from squire_gatherings._hall.archive import archive_of, read_syncs
from squire_gatherings._hall.clients import Sender
from squire_gatherings._hall.room import Room
from squire_gatherings._hall.store import Store, read_page, store_trouble
from squire_gatherings._rules.behaviour import (
    Behaviour,
    Stamp,
    encode_state,
    restore_state,
)
from squire_gatherings._values.errors import BadBase, StoreUnavailable
from squire_gatherings._values.log import LoggedOp, Shown
from squire_gatherings._values.messages import Fetch, Fetched, SyncRun

_log = logging.getLogger(__name__)

FOLDED_AT_ONCE = 250
"""How many ops are folded before others get their turn."""


@define(eq=False)
class Past:
    """What a store has of one log, which begins at `first_seq`."""

    store: Store
    gathering: str
    first_seq: int
    max_bytes: int
    """How many bytes are read at once."""

    async def state_at(
        self, seq: int, make_behaviour: Callable[[], Behaviour]
    ) -> tuple[bytes, str]:
        """Return the state after an op of the log, as JSON, and the epoch of the op.

        Raises:
            BadRequest: The store keeps no older snapshots.
            StoreUnavailable: The store can't be read now.
            BadBase: The behaviour can't be taken back to it.

        Cancellation: nothing is read any more.
        """
        archive = archive_of(self.store)
        with store_trouble():
            snapshot = await archive.snapshot_at(self.gathering, seq=seq)
        at = 0 if snapshot is None else snapshot.seq
        epoch = ""
        try:
            behaviour = make_behaviour()
            if snapshot is not None:
                restore_state(behaviour, snapshot.state)
            if at == seq >= self.first_seq:
                epoch = (await self.read(seq - 1, seq))[0].epoch
            while at < seq:
                page = await self.read(at, seq)
                for number, logged in enumerate(page, start=1):
                    behaviour.fold(logged.op, Stamp(at + number, logged.time, logged.by))
                    if not number % FOLDED_AT_ONCE:
                        await trio.lowlevel.checkpoint()
                at += len(page)
                epoch = page[-1].epoch
            return encode_state(behaviour), epoch
        except StoreUnavailable:
            raise
        except Exception as error:
            extra = {"gathering": self.gathering, "seq": seq}
            _log.exception("the gathering can't be taken back", extra=extra)
            raise BadBase(
                f"{self.gathering} can't be taken back to op {seq}: its behaviour failed"
            ) from error

    async def read(self, after: int, up_to: int) -> tuple[LoggedOp, ...]:
        """Read consecutive ops, at least one.

        Raises:
            StoreUnavailable: The store can't be read now, or doesn't have them.

        Cancellation: nothing is read any more.
        """
        page = await read_page(
            self.store, self.gathering, after=after, up_to=up_to, max_bytes=self.max_bytes
        )
        if not page:
            raise StoreUnavailable(f"the store has no op {after + 1}")
        return page


@define(eq=False)
class Travel:
    """Looks at one gathering's log as it was."""

    room: Room
    make_behaviour: Callable[[], Behaviour]

    async def fetched(self, answers: Answers, sender: Sender, fetch: Fetch) -> Fetched:
        """Return the answer to a fetch with `at`, or with `at_time`.

        Raises:
            BadBase: The log doesn't have that op, or not any more, or the behaviour can't be taken
                back to it.
            BadRequest: The store keeps no older snapshots.
            StoreUnavailable: The store can't be read now.

        Cancellation: nothing is read any more.
        """
        room = self.room
        seq = await self._seq(fetch)
        since = fetch.since
        past = Past(room.store, room.id, room.log.first_seq, room.settings.batch_bytes)
        if since is None and room.serves_snapshots:
            state, epoch = await past.state_at(seq, self.make_behaviour)
            epoch = room.log.epoch_before if seq < room.log.first_seq else epoch
            answers.spent += len(state)
            return Fetched(
                fetch.id,
                seq,
                snapshot=msgspec.Raw(state),
                epoch=UNSET if epoch == room.incarnation else epoch,
            )
        since = since or 0
        if since > seq:
            raise BadBase(f"since is {since}, which is after op {seq}")
        after = max(since, room.log.first_seq - 1)
        page: tuple[LoggedOp, ...] = ()
        syncs: tuple[SyncRun, ...] = ()
        if after < seq:
            page = await past.read(after, seq)
            if sender.extras.syncs:
                up_to = after + len(page)
                syncs = await read_syncs(room.store, room.id, after=after, up_to=up_to)
        shown = answers.fields(sender, Shown(after, page, syncs))
        if after > since:
            shown["first_seq"] = after + 1
        return Fetched(fetch.id, seq, **shown)

    async def _seq(self, fetch: Fetch) -> int:
        log = self.room.log
        seq = fetch.at
        if seq is None:
            assert fetch.at_time is not None
            archive = archive_of(self.room.store)
            with store_trouble():
                seq = await archive.seq_at(self.room.id, time=fetch.at_time)
            seq = min(seq, log.committed)
        return self._check(seq)

    def _check(self, seq: int) -> int:
        log = self.room.log
        if seq > log.committed:
            raise BadBase(f"at is {seq}, but the last op is {log.committed}")
        if seq < log.first_seq - 1:
            raise BadBase(f"at is {seq}, but the log has only what came after {log.first_seq - 1}")
        return seq
