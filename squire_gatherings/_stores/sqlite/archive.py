"""The archive: whole logs in the tables, which are told of, copied, cut short, deleted.

All of it happens in a transaction of the caller's, once nothing is in the journal.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from squire_gatherings._rules.chain import state_digest, tombstone_digest
from squire_gatherings._rules.links import check_fork, checked, cut
from squire_gatherings._stores.common import is_storable, links_page
from squire_gatherings._stores.sqlite.fold import SNAPSHOT_COLUMNS
from squire_gatherings._stores.sqlite.journal import decode_entry
from squire_gatherings._stores.sqlite.tables import (
    OP_COLUMNS,
    find_beginning,
    find_epoch,
    find_seq_at,
    find_snapshot,
    find_syncs_from,
    find_time_and_head,
    find_tombstone,
    head_in_tables,
    insert_rows,
    op_rows,
)
from squire_gatherings._values.archive import LogCopy, LogInfo, Tombstone
from squire_gatherings._values.errors import StoreConflict
from squire_gatherings._values.log import Append, LoggedOp, Snapshot, SyncRecord, of_each, runs
from squire_gatherings._values.op import Op

T = TypeVar("T")

ROWS = 1000
"""How many ops are read at once."""

_SYNC_COLUMNS = "syncs (gathering, scope, id, first_seq, count, fingerprint)"


# What there is.


def list_ids(database: sqlite3.Connection, after: str, limit: int) -> list[str]:
    """Return ids of logs and of tombstones, in order, from the first one after `after` on."""
    rows = database.execute(
        "SELECT id FROM (SELECT id FROM gatherings UNION SELECT id FROM tombstones)"
        " WHERE id > ? ORDER BY id LIMIT ?",
        (after, limit),
    )
    return [one for [one] in rows]


def list_logs(database: sqlite3.Connection, after: str, limit: int) -> tuple[LogInfo, ...]:
    """Return what there is of the next gatherings, in the order of their ids."""
    found = (find_info(database, one) for one in list_ids(database, after, limit))
    return tuple(one for one in found if one is not None)


def at_one_moment(function: Callable[[sqlite3.Connection], T], database: sqlite3.Connection) -> T:
    """Call a function that only reads, and sees the file as it is at one moment."""
    database.execute("BEGIN")
    try:
        return function(database)
    finally:
        if database.in_transaction:
            database.execute("ROLLBACK")


def find_info(database: sqlite3.Connection, gathering: str) -> LogInfo | None:
    """Return what there is of a gathering; None if there is nothing."""
    if not is_storable(gathering):
        return None
    tombstone = find_tombstone(database, gathering)
    key, last = _key_and_last(database, gathering)
    if key is None:
        return None if tombstone is None else LogInfo(gathering=gathering, tombstone=tombstone)
    first, before = find_beginning(database, key)
    [size] = database.execute(
        "SELECT coalesce(sum(length(op)), 0) FROM ops WHERE gathering = ?", (key,)
    ).fetchone()
    [syncs] = database.execute("SELECT count(*) FROM syncs WHERE gathering = ?", (key,)).fetchone()
    snapshots = database.execute(
        "SELECT seq FROM snapshots WHERE gathering = ? ORDER BY seq", (key,)
    )
    return LogInfo(
        gathering=gathering,
        first_seq=first,
        seq=last,
        first_time=find_time_and_head(database, key, first)[0],
        last_time=find_time_and_head(database, key, last)[0],
        size=size,
        syncs=syncs,
        snapshots=tuple(seq for [seq] in snapshots),
        before=before,
        epoch_before=find_epoch(database, key, first - 1),
        head=head_in_tables(database, key, last),
        tombstone=tombstone,
    )


def matching(database: sqlite3.Connection, pattern: str) -> list[str]:
    """Return the ids of the logs that match a pattern, as in a shell: `*`, `?`, `[a-z]`."""
    if not is_storable(pattern):
        return []
    rows = database.execute("SELECT id FROM gatherings WHERE id GLOB ? ORDER BY id", (pattern,))
    return [one for [one] in rows]


def epochs(database: sqlite3.Connection, gathering: str) -> list[tuple[int, str]]:
    """Return where the epoch changes in a log."""
    key, _ = _key_and_last(database, gathering)
    return database.execute(
        "SELECT first_seq, epoch FROM epochs WHERE gathering = ? ORDER BY first_seq", (key,)
    ).fetchall()


def head_at(database: sqlite3.Connection, gathering: str, seq: int) -> bytes:
    """Return the head of the chain after an op; empty where no append ended."""
    key, _ = _key_and_last(database, gathering)
    return head_in_tables(database, key, seq)


def seq_at(database: sqlite3.Connection, gathering: str, time: int) -> int:
    """Return the last op whose time isn't after `time`."""
    key, last = _key_and_last(database, gathering)
    return find_seq_at(database, key, last, time)


def links_of(database: sqlite3.Connection, gathering: str) -> Iterator[Append]:
    """Give all appends of a log."""
    return iter_links(database, gathering, _key_and_last(database, gathering)[0])


def older_syncs(database: sqlite3.Connection, gathering: str) -> tuple[SyncRecord, ...]:
    """Return the syncs whose ops were left out."""
    key, _ = _key_and_last(database, gathering)
    if key is None:
        return ()
    return find_syncs_from(database, key, 0, find_beginning(database, key)[0] - 1)


def read_links(
    database: sqlite3.Connection, gathering: str, after: int, up_to: int, max_bytes: int
) -> tuple[Append, ...]:
    """Return consecutive links after the op `after`, at least one if there is any."""
    key, _ = _key_and_last(database, gathering)
    return links_page(iter_links(database, gathering, key, after), up_to, max_bytes)


def iter_links(
    database: sqlite3.Connection, gathering: str, key: int | None, after: int = 0
) -> Iterator[Append]:
    """Give the appends of a log after the op `after`, and the snapshots with them.

    A log that begins later than at 1 begins with an append of nothing but its snapshot.
    """
    if key is None:
        return
    first = find_beginning(database, key)[0]
    if after < first:
        after = first - 1
        snapshot = _snapshot_of(database, key, after)
        if snapshot is not None:
            yield Append(_name_of(database, gathering, key, first), first, (), (), snapshot)
    ops: list[LoggedOp] = []
    begin = after + 1
    for seq, logged, head in _ops_and_heads(database, key, after):
        ops.append(logged)
        if head is None:
            continue
        yield Append(
            _name_of(database, gathering, key, begin),
            begin,
            tuple(ops),
            find_syncs_from(database, key, begin, seq),
            _snapshot_of(database, key, seq),
            head,
        )
        begin = seq + 1
        ops.clear()


def _ops_and_heads(
    database: sqlite3.Connection, key: int, after: int
) -> Iterator[tuple[int, LoggedOp, bytes | None]]:
    while True:
        # In pages: others may write to the table meanwhile.
        rows = database.execute(
            "SELECT seq, by, op, time, head FROM ops WHERE gathering = ? AND seq > ?"
            " ORDER BY seq LIMIT ?",
            (key, after, ROWS),
        ).fetchall()
        if not rows:
            return
        last = rows[-1][0]
        changes = database.execute(
            "SELECT first_seq, epoch FROM epochs WHERE gathering = ?"
            " AND first_seq BETWEEN ? AND ? ORDER BY first_seq",
            (key, after + 2, last),
        ).fetchall()
        epochs = of_each(changes, after + 1, before=find_epoch(database, key, after + 1))
        for (seq, by, op, time, head), epoch in zip(rows, epochs, strict=False):
            yield seq, LoggedOp(Op(op), by, epoch, time), head
        after = last


def _name_of(database: sqlite3.Connection, gathering: str, key: int, seq: int) -> str:
    row = database.execute(
        "SELECT name FROM names WHERE gathering = ? AND first_seq <= ?"
        " ORDER BY first_seq DESC LIMIT 1",
        (key, seq),
    ).fetchone()
    return gathering if row is None else str(row[0])


def _snapshot_of(database: sqlite3.Connection, key: int, seq: int) -> Snapshot | None:
    found = find_snapshot(database, key, seq)
    return found if found is not None and found.seq == seq else None


def _key_and_last(database: sqlite3.Connection, gathering: str) -> tuple[int | None, int]:
    if not is_storable(gathering):
        return None, 0
    row = database.execute("SELECT key, head FROM gatherings WHERE id = ?", (gathering,)).fetchone()
    return (None, 0) if row is None else (row[0], row[1])


# What is changed.


def delete(database: sqlite3.Connection, gathering: str, now: int) -> Tombstone | None:
    """Delete a log, and what was refused of it; leave a tombstone.

    Returns:
        The tombstone; None if there is no such log.
    """
    key, last = _key_and_last(database, gathering)
    if key is None:
        return None
    head = head_in_tables(database, key, last)
    for table in ("ops", "epochs", "names", "syncs", "snapshots"):
        database.execute(f"DELETE FROM {table} WHERE gathering = ?", (key,))
    database.execute("DELETE FROM gatherings WHERE key = ?", (key,))
    _delete_refused(database, gathering)
    _note_change(database)
    digest = tombstone_digest(gathering, last, head, now)
    database.execute(
        "INSERT OR REPLACE INTO tombstones (id, seq, head, time, digest) VALUES (?, ?, ?, ?, ?)",
        (gathering, last, head, now, digest),
    )
    return Tombstone(gathering, last, head, now)


def _delete_refused(database: sqlite3.Connection, gathering: str) -> None:
    for number, entry in database.execute("SELECT number, entry FROM refused").fetchall():
        try:
            appends = decode_entry(entry)
        except ValueError:
            continue
        if any(append.gathering == gathering for append in appends):
            database.execute("DELETE FROM refused WHERE number = ?", (number,))


def compact(
    database: sqlite3.Connection,
    gathering: str,
    up_to: int,
    state: bytes | None,
    *,
    forget_syncs: bool,
) -> int:
    """Leave out the ops up to a snapshot: the last one by the op `up_to`, or the one given.

    Returns:
        The first seq that the log has now.

    Raises:
        StoreConflict: There is no such log, or no append ended where a snapshot is given.
    """
    key, last = _key_and_last(database, gathering)
    if key is None:
        raise StoreConflict(f"there is no gathering {gathering}")
    first, _ = find_beginning(database, key)
    if state is not None:
        put_snapshot(database, gathering, up_to, state)
    snapshot = find_snapshot(database, key, min(up_to, last))
    if snapshot is None or snapshot.seq < first:
        return first
    seq = snapshot.seq
    before, epoch = head_in_tables(database, key, seq), find_epoch(database, key, seq)
    name = _name_of(database, gathering, key, seq + 1)
    for table, column in (
        ("ops", "seq <= ?"),
        ("epochs", "first_seq <= ?"),
        ("names", "first_seq <= ?"),
        ("snapshots", "seq < ?"),
    ):
        database.execute(f"DELETE FROM {table} WHERE gathering = ? AND {column}", (key, seq))
    if epoch:
        # Clients that have just what is left out are known by its last epoch.
        database.execute("INSERT INTO epochs VALUES (?, ?, ?)", (key, seq, epoch))
    if name != gathering:
        database.execute("INSERT OR IGNORE INTO names VALUES (?, ?, ?)", (key, seq + 1, name))
    if forget_syncs:
        database.execute("DELETE FROM syncs WHERE gathering = ? AND first_seq <= ?", (key, seq))
    database.execute(
        "UPDATE gatherings SET first_seq = ?, before = ? WHERE key = ?", (seq + 1, before, key)
    )
    _note_change(database)
    return seq + 1


def put_snapshot(database: sqlite3.Connection, gathering: str, seq: int, state: bytes) -> None:
    """Keep the state after an op with which an append ended. Raises `StoreConflict`."""
    key, last = _key_and_last(database, gathering)
    head = b"" if key is None or seq > last else head_in_tables(database, key, seq)
    if not head:
        raise StoreConflict(f"no append to {gathering} ended with the op {seq}")
    database.execute(
        f"INSERT INTO {SNAPSHOT_COLUMNS} VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (key, seq, state, state_digest(head, state)),
    )


def end_of_append(database: sqlite3.Connection, gathering: str, seq: int) -> int:
    """Return the last op, by the op `seq`, with which an append ended; 0 if there is none."""
    key, _ = _key_and_last(database, gathering)
    row = database.execute(
        "SELECT seq FROM ops WHERE gathering = ? AND seq <= ? AND head IS NOT NULL"
        " ORDER BY seq DESC LIMIT 1",
        (key, seq),
    ).fetchone()
    return 0 if row is None else int(row[0])


def adopt(database: sqlite3.Connection, copy: LogCopy) -> int:
    """Take in a whole log; return its last seq.

    Raises:
        StoreConflict: There is one of this id, or a link doesn't fit on the one before it.
        Exception: What reading the links raises.
    """
    gathering, first = copy.gathering, copy.first_seq
    if _key_and_last(database, gathering)[0] is not None:
        raise StoreConflict(f"there is a gathering {gathering} already")
    inserted = database.execute(
        "INSERT INTO gatherings (id, head, first_seq, before) VALUES (?, 0, ?, ?)",
        (gathering, first, copy.before),
    )
    key = inserted.lastrowid
    assert key is not None
    _insert_syncs(database, key, copy.older_syncs)
    last, epoch, name = first - 1, copy.epoch_before, gathering
    if epoch:
        database.execute("INSERT INTO epochs VALUES (?, ?, ?)", (key, last, epoch))
    has_beginning = first == 1
    links = iter(checked(copy.links, first, copy.before))
    while some := tuple(islice(links, ROWS)):
        ops = [row for link in some for row in op_rows(key, link)]
        insert_rows(database, f"ops ({OP_COLUMNS})", ops)
        for link in some:
            if link.ops:
                found = runs([one.epoch for one in link.ops], link.first_seq, before=epoch)
                database.executemany(
                    "INSERT INTO epochs VALUES (?, ?, ?)", [(key, *run) for run in found]
                )
                epoch, last = link.ops[-1].epoch, link.first_seq + len(link.ops) - 1
                if link.gathering != name:
                    name = link.gathering
                    database.execute(
                        "INSERT INTO names VALUES (?, ?, ?)", (key, link.first_seq, name)
                    )
            snapshot = link.snapshot
            if snapshot is not None:
                has_beginning = has_beginning or snapshot.seq == first - 1
                database.execute(
                    f"INSERT INTO {SNAPSHOT_COLUMNS} VALUES (?, ?, ?, ?)",
                    (key, snapshot.seq, snapshot.state, snapshot.digest),
                )
            _insert_syncs(database, key, link.syncs)
    if not has_beginning:
        raise StoreConflict("there is no snapshot in place of the first ops")
    if last < 1:
        raise StoreConflict("a log has ops, or a snapshot in their place")
    if name != gathering:
        # What it goes on with is its own.
        database.execute("INSERT INTO names VALUES (?, ?, ?)", (key, last + 1, gathering))
    database.execute("UPDATE gatherings SET head = ? WHERE key = ?", (last, key))
    _note_change(database)
    return last


def fork(database: sqlite3.Connection, gathering: str, new: str, seq: int) -> int:
    """Make a new gathering of a log up to the op `seq`; return that.

    Raises:
        BadBase: The log doesn't have that op.
        StoreConflict: There is no such log, or one of the new id.
    """
    key, last = _key_and_last(database, gathering)
    if key is None:
        raise StoreConflict(f"there is no gathering {gathering}")
    first, before = find_beginning(database, key)
    check_fork(gathering, first, last, seq)
    copy = LogCopy(
        gathering=new,
        first_seq=first,
        before=before,
        epoch_before=find_epoch(database, key, first - 1),
        older_syncs=older_syncs(database, gathering),
        links=cut(iter_links(database, gathering, key), seq, new, before),
    )
    return adopt(database, copy)


def changes(database: sqlite3.Connection) -> int:
    """Return how often whole logs were changed."""
    row = database.execute("SELECT number FROM changes").fetchone()
    return 0 if row is None else int(row[0])


def _note_change(database: sqlite3.Connection) -> None:
    database.execute("UPDATE changes SET number = number + 1")


def _insert_syncs(database: sqlite3.Connection, key: int, syncs: Iterable[SyncRecord]) -> None:
    try:
        insert_rows(
            database,
            _SYNC_COLUMNS,
            [(key, s.scope, s.id, s.first_seq, s.count, s.fingerprint) for s in syncs],
        )
    except sqlite3.IntegrityError as error:
        raise StoreConflict(f"a sync is there twice: {error}") from None
