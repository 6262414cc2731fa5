"""The changes of whole logs: they are deleted, cut short, taken in, forked.

Each happens in a transaction of the caller's, once nothing is in the journal.
"""

import sqlite3
from collections.abc import Iterable
from itertools import islice

from squire_gatherings._rules.chain import sealed_time, state_digest, tombstone_digest
from squire_gatherings._rules.links import check_fork, checked, cut
from squire_gatherings._stores.sqlite.archive import (
    ROWS,
    iter_links,
    name_of,
    older_syncs,
)
from squire_gatherings._stores.sqlite.fold import SNAPSHOT_COLUMNS
from squire_gatherings._stores.sqlite.journal import decode_entry
from squire_gatherings._stores.sqlite.schema import OF_A_GATHERING
from squire_gatherings._stores.sqlite.tables import (
    OP_COLUMNS,
    SYNC_COLUMNS,
    find_beginning,
    find_epoch,
    find_last_time,
    find_snapshot,
    find_time_before,
    head_in_tables,
    insert_rows,
    key_and_head,
    op_rows,
    sync_rows,
)
from squire_gatherings._values.archive import LogCopy, Tombstone
from squire_gatherings._values.errors import StoreConflict
from squire_gatherings._values.log import SyncRecord, runs


def delete(database: sqlite3.Connection, gathering: str, now: int) -> Tombstone | None:
    """Delete a log, and what was refused of it; leave a tombstone.

    Returns:
        The tombstone; None if there is no such log.
    """
    key, last = key_and_head(database, gathering)
    if key is None:
        return None
    head = head_in_tables(database, key, last)
    for table in OF_A_GATHERING:
        database.execute(f"DELETE FROM {table} WHERE gathering = ?", (key,))
    database.execute("DELETE FROM gatherings WHERE key = ?", (key,))
    _delete_refused(database, gathering)
    # One that sleeps ends. It says who was there.
    database.execute("DELETE FROM sleepers WHERE gathering = ?", (gathering,))
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
    key, last = key_and_head(database, gathering)
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
    time = find_last_time(database, key, seq)
    name = name_of(database, gathering, key, seq + 1)
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
        "UPDATE gatherings SET first_seq = ?, before = ?, time_before = ? WHERE key = ?",
        (seq + 1, before, sealed_time(before, time), key),
    )
    _note_change(database)
    return seq + 1


def put_snapshot(database: sqlite3.Connection, gathering: str, seq: int, state: bytes) -> None:
    """Keep the state after an op with which an append ended. Raises `StoreConflict`."""
    key, last = key_and_head(database, gathering)
    head = b"" if key is None or seq > last else head_in_tables(database, key, seq)
    if not head:
        raise StoreConflict(f"no append to {gathering} ended with the op {seq}")
    database.execute(
        f"INSERT INTO {SNAPSHOT_COLUMNS} VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (key, seq, state, state_digest(head, state)),
    )


def adopt(database: sqlite3.Connection, copy: LogCopy) -> int:
    """Take in a whole log; return its last seq.

    Raises:
        StoreConflict: There is one of this id, or a link doesn't fit on the one before it.
        Exception: What reading the links raises.
    """
    gathering, first = copy.gathering, copy.first_seq
    if key_and_head(database, gathering)[0] is not None:
        raise StoreConflict(f"there is a gathering {gathering} already")
    sealed = None if first == 1 else sealed_time(copy.before, copy.time_before)
    inserted = database.execute(
        "INSERT INTO gatherings (id, head, first_seq, before, time_before) VALUES (?, 0, ?, ?, ?)",
        (gathering, first, copy.before, sealed),
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
                epoch, last = link.ops[-1].epoch, link.last_seq
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
    key, last = key_and_head(database, gathering)
    if key is None:
        raise StoreConflict(f"there is no gathering {gathering}")
    first, before = find_beginning(database, key)
    check_fork(gathering, first, last, seq)
    copy = LogCopy(
        gathering=new,
        first_seq=first,
        before=before,
        epoch_before=find_epoch(database, key, first - 1),
        time_before=find_time_before(database, key),
        older_syncs=older_syncs(database, gathering),
        links=cut(iter_links(database, gathering, key), seq, new, before),
    )
    return adopt(database, copy)


def _note_change(database: sqlite3.Connection) -> None:
    database.execute("UPDATE changes SET number = number + 1")


def _insert_syncs(database: sqlite3.Connection, key: int, syncs: Iterable[SyncRecord]) -> None:
    try:
        insert_rows(database, f"syncs ({SYNC_COLUMNS})", sync_rows(key, syncs))
    except sqlite3.IntegrityError as error:
        raise StoreConflict(f"a sync is there twice: {error}") from None
