"""The changes of whole logs: they are deleted, cut short, taken in, forked.

Each happens in a transaction of the caller's, on a worker thread. The row of the gathering is
locked first: a group commit that has it waits, and finds another log.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, LiteralString

import psycopg
from attrs import frozen

from squire_gatherings._rules.chain import (
    head_of,
    sealed_time,
    state_digest,
    tombstone_digest,
)
from squire_gatherings._rules.links import check_fork, checked, cut
from squire_gatherings._stores.postgres.archive import LogsOfDatabase
from squire_gatherings._stores.postgres.batch import op_rows
from squire_gatherings._stores.postgres.reads import last_time
from squire_gatherings._stores.postgres.schema import OF_A_GATHERING, statement
from squire_gatherings._stores.postgres.tables import (
    ROWS,
    LogRow,
    find_epoch,
    find_gathering,
    find_snapshot,
    find_syncs_from,
    head_after,
)
from squire_gatherings._values.archive import LogCopy, Tombstone
from squire_gatherings._values.errors import StoreConflict
from squire_gatherings._values.log import Append, SyncRecord

_OPS: LiteralString = (
    "COPY {s}.ops (gathering, seq, by, op, time, epoch, head, name) FROM STDIN (FORMAT BINARY)"
)
_OP_TYPES = ("int8", "int8", "bytea", "bytea", "int8", "bytea", "bytea", "text")
_SYNCS: LiteralString = (
    "COPY {s}.syncs (gathering, scope, id, first_seq, count, fingerprint)"
    " FROM STDIN (FORMAT BINARY)"
)
_SYNC_TYPES = ("int8", "bytea", "bytea", "int8", "int8", "bytea")


@frozen
class ChangesOfDatabase(LogsOfDatabase):
    """The logs of a database, in a transaction that changes them."""

    def delete(self, gathering: str, now: int) -> Tombstone | None:
        """Delete a log; leave a tombstone.

        Returns:
            The tombstone; None if there is no such log.
        """
        log = self.log(gathering, lock=True)
        if log is None:
            return None
        for table in OF_A_GATHERING:
            self._run(f"DELETE FROM {{s}}.{table} WHERE gathering = %s", log.key)
        self._run("DELETE FROM {s}.gatherings WHERE key = %s", log.key)
        # One that sleeps ends. It says who was there.
        self._run("DELETE FROM {s}.sleepers WHERE gathering = %s", gathering)
        self._note_change()
        digest = tombstone_digest(gathering, log.head, log.chain, now)
        self._run(
            "INSERT INTO {s}.tombstones VALUES (%s, %s, %s, %s, %s) ON CONFLICT (id) DO UPDATE SET"
            " seq = excluded.seq, head = excluded.head, time = excluded.time,"
            " digest = excluded.digest",
            gathering,
            log.head,
            log.chain,
            now,
            digest,
        )
        return Tombstone(gathering, log.head, log.chain, now)

    def compact(
        self, gathering: str, up_to: int, state: bytes | None, *, forget_syncs: bool
    ) -> int:
        """Leave out the ops up to a snapshot: the last one by the op `up_to`, or the one given.

        Returns:
            The first seq that the log has now.

        Raises:
            StoreConflict: There is no such log, or no append ended where a snapshot is given.
        """
        log = self._existing(gathering)
        key = log.key
        if state is not None:
            self._put_snapshot(gathering, log, up_to, state)
        snapshot = find_snapshot(self.connection, self.schema, key, min(up_to, log.head))
        if snapshot is None or snapshot.seq < log.first_seq:
            return log.first_seq
        seq = snapshot.seq
        before = head_after(self.connection, self.schema, log, seq)
        epoch = find_epoch(self.connection, self.schema, key, seq)
        time = last_time(self.connection, self.schema, log, seq)
        self._run("DELETE FROM {s}.ops WHERE gathering = %s AND seq <= %s", key, seq)
        self._run("DELETE FROM {s}.snapshots WHERE gathering = %s AND seq < %s", key, seq)
        if forget_syncs:
            self._run("DELETE FROM {s}.syncs WHERE gathering = %s AND first_seq <= %s", key, seq)
        self._run(
            "UPDATE {s}.gatherings SET first_seq = %s, before = %s, epoch_before = %s,"
            " time_before = %s WHERE key = %s",
            seq + 1,
            before,
            # Clients that have just what is left out are known by its last epoch.
            epoch.encode(),
            sealed_time(before, time),
            key,
        )
        self._note_change()
        return seq + 1

    def adopt(self, copy: LogCopy) -> int:
        """Take in a whole log; return its last seq.

        Raises:
            StoreConflict: There is one of this id, or a link doesn't fit on the one before it.
            Exception: What reading the links raises.
        """
        first = copy.first_seq
        key = self._begin(copy)
        self._insert_syncs(key, copy.older_syncs)
        last, epoch, head = first - 1, copy.epoch_before, copy.before
        has_beginning = first == 1
        links = iter(checked(copy.links, first, copy.before))
        while some := tuple(islice(links, ROWS)):
            rows: list[tuple[Any, ...]] = []
            for link in some:
                if link.ops:
                    epoch = _add_rows(rows, key, link, epoch, copy.gathering)
                    last, head = link.last_seq, head_of(link)
                snapshot = link.snapshot
                if snapshot is not None:
                    has_beginning = has_beginning or snapshot.seq == first - 1
                    self._run(
                        "INSERT INTO {s}.snapshots VALUES (%s, %s, %s, %s)",
                        key,
                        snapshot.seq,
                        snapshot.state,
                        snapshot.digest,
                    )
            self._copy(_OPS, _OP_TYPES, rows)
            self._insert_syncs(key, (sync for link in some for sync in link.syncs))
        if not has_beginning:
            raise StoreConflict("there is no snapshot in place of the first ops")
        if last < 1:
            raise StoreConflict("a log has ops, or a snapshot in their place")
        self._run("UPDATE {s}.gatherings SET head = %s, chain = %s WHERE key = %s", last, head, key)
        self._note_change()
        return last

    def fork(self, gathering: str, new: str, seq: int) -> int:
        """Make a new gathering of a log up to the op `seq`; return that.

        Raises:
            BadBase: The log doesn't have that op.
            StoreConflict: There is no such log, or one of the new id.
        """
        log = self._existing(gathering)
        check_fork(gathering, log.first_seq, log.head, seq)
        older = find_syncs_from(self.connection, self.schema, log.key, 0, log.first_seq - 1)
        links = tuple(cut(self.links_of(gathering), seq, new, log.before))
        copy = LogCopy(
            gathering=new,
            first_seq=log.first_seq,
            before=log.before,
            epoch_before=log.epoch_before,
            time_before=log.time_before,
            older_syncs=older,
            links=links,
        )
        return self.adopt(copy)

    def _existing(self, gathering: str) -> LogRow:
        log = self.log(gathering, lock=True)
        if log is None:
            raise StoreConflict(f"there is no gathering {gathering}")
        return log

    def _begin(self, copy: LogCopy) -> int:
        """Make the row of a log that is taken in, in place of one that has none; return its key."""
        row = find_gathering(self.connection, self.schema, copy.gathering, lock=True)
        if row is not None:
            if row.head:
                raise StoreConflict(f"there is a gathering {copy.gathering} already")
            # Somebody has opened it, and nothing was written yet: it's another log from now on.
            self._run("DELETE FROM {s}.gatherings WHERE key = %s", row.key)
        first = copy.first_seq
        sealed = None if first == 1 else sealed_time(copy.before, copy.time_before)
        try:
            inserted = self._run(
                "INSERT INTO {s}.gatherings (id, first_seq, before, epoch_before, time_before)"
                " VALUES (%s, %s, %s, %s, %s) RETURNING key",
                copy.gathering,
                first,
                copy.before,
                copy.epoch_before.encode(),
                sealed,
            ).fetchone()
        except psycopg.errors.UniqueViolation:
            raise StoreConflict(f"there is a gathering {copy.gathering} already") from None
        assert inserted is not None
        return int(inserted[0])

    def _put_snapshot(self, gathering: str, log: LogRow, seq: int, state: bytes) -> None:
        head = head_after(self.connection, self.schema, log, seq) if seq <= log.head else b""
        if not head:
            raise StoreConflict(f"no append to {gathering} ended with the op {seq}")
        self._run(
            "INSERT INTO {s}.snapshots VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
            log.key,
            seq,
            state,
            state_digest(head, state),
        )

    def _insert_syncs(self, key: int, syncs: Iterable[SyncRecord]) -> None:
        rows = [
            (key, s.scope.encode(), s.id.encode(), s.first_seq, s.count, s.fingerprint)
            for s in syncs
        ]
        try:
            self._copy(_SYNCS, _SYNC_TYPES, rows)
        except psycopg.errors.UniqueViolation as error:
            text = error.diag.message_detail or error.diag.message_primary
            raise StoreConflict(f"a sync is there twice: {text}") from None

    def _copy(
        self, text: LiteralString, types: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        if not rows:
            return
        with (
            self.connection.cursor() as cursor,
            cursor.copy(statement(text, self.schema)) as copy,
        ):
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)

    def _note_change(self) -> None:
        self._run("UPDATE {s}.changes SET number = number + 1")

    def _run(self, text: LiteralString, *values: object) -> psycopg.Cursor[Any]:
        return self.connection.execute(statement(text, self.schema), values)


def _add_rows(
    rows: list[tuple[Any, ...]], key: int, link: Append, epoch: str, gathering: str
) -> str:
    """Add the rows of a link's ops; return the epoch of the last one."""
    added, epoch = op_rows(key, link, epoch)
    rows += [(*row, None) for row in added]
    if added and link.gathering != gathering:
        rows[-1] = (*rows[-1][:-1], link.gathering)
    return epoch
