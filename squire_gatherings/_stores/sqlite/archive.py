"""The archive: what is told of whole logs, and read of them append by append.

All of it happens in a transaction of the caller's, once nothing is in the journal.
"""

import sqlite3
from collections.abc import Callable, Iterator
from typing import TypeVar

from squire_gatherings._stores.common import is_storable, links_page
from squire_gatherings._stores.sqlite.tables import (
    find_beginning,
    find_epoch,
    find_last_time,
    find_seq_at,
    find_snapshot,
    find_syncs_from,
    find_time_and_head,
    find_time_before,
    find_tombstone,
    head_in_tables,
    key_and_head,
    ops_size,
)
from squire_gatherings._stores.sqlite.transactions import one_moment
from squire_gatherings._values.archive import LogInfo
from squire_gatherings._values.log import Append, LoggedOp, Snapshot, SyncRecord, of_each

T = TypeVar("T")

ROWS = 1000
"""How many ops are read at once."""


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
    with one_moment(database):
        return function(database)


def find_info(database: sqlite3.Connection, gathering: str) -> LogInfo | None:
    """Return what there is of a gathering; None if there is nothing."""
    if not is_storable(gathering):
        return None
    tombstone = find_tombstone(database, gathering)
    key, last = key_and_head(database, gathering)
    if key is None:
        return None if tombstone is None else LogInfo(gathering=gathering, tombstone=tombstone)
    first, before = find_beginning(database, key)
    [syncs] = database.execute("SELECT count(*) FROM syncs WHERE gathering = ?", (key,)).fetchone()
    snapshots = database.execute(
        "SELECT seq FROM snapshots WHERE gathering = ? ORDER BY seq", (key,)
    )
    return LogInfo(
        gathering=gathering,
        first_seq=first,
        seq=last,
        first_time=find_time_and_head(database, key, first)[0],
        last_time=find_last_time(database, key, last),
        size=ops_size(database, key),
        syncs=syncs,
        snapshots=tuple(seq for [seq] in snapshots),
        before=before,
        epoch_before=find_epoch(database, key, first - 1),
        time_before=find_time_before(database, key),
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
    key, _ = key_and_head(database, gathering)
    return database.execute(
        "SELECT first_seq, epoch FROM epochs WHERE gathering = ? ORDER BY first_seq", (key,)
    ).fetchall()


def head_at(database: sqlite3.Connection, gathering: str, seq: int) -> bytes:
    """Return the head of the chain after an op; empty where no append ended."""
    key, _ = key_and_head(database, gathering)
    return head_in_tables(database, key, seq)


def seq_at(database: sqlite3.Connection, gathering: str, time: int) -> int:
    """Return the last op whose time isn't after `time`."""
    key, last = key_and_head(database, gathering)
    return find_seq_at(database, key, last, time)


def links_of(database: sqlite3.Connection, gathering: str) -> Iterator[Append]:
    """Give all appends of a log."""
    return iter_links(database, gathering, key_and_head(database, gathering)[0])


def older_syncs(database: sqlite3.Connection, gathering: str) -> tuple[SyncRecord, ...]:
    """Return the syncs whose ops were left out."""
    key, _ = key_and_head(database, gathering)
    if key is None:
        return ()
    return find_syncs_from(database, key, 0, find_beginning(database, key)[0] - 1)


def read_links(
    database: sqlite3.Connection, gathering: str, after: int, up_to: int, max_bytes: int
) -> tuple[Append, ...]:
    """Return consecutive links after the op `after`, at least one if there is any."""
    key, _ = key_and_head(database, gathering)
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
            yield Append(name_of(database, gathering, key, first), first, (), (), snapshot)
    ops: list[LoggedOp] = []
    begin = after + 1
    for seq, logged, head in _ops_and_heads(database, key, after):
        ops.append(logged)
        if head is None:
            continue
        yield Append(
            name_of(database, gathering, key, begin),
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
            yield seq, LoggedOp(op, by, epoch, time), head
        after = last


def name_of(database: sqlite3.Connection, gathering: str, key: int, seq: int) -> str:
    row = database.execute(
        "SELECT name FROM names WHERE gathering = ? AND first_seq <= ?"
        " ORDER BY first_seq DESC LIMIT 1",
        (key, seq),
    ).fetchone()
    return gathering if row is None else str(row[0])


def _snapshot_of(database: sqlite3.Connection, key: int, seq: int) -> Snapshot | None:
    found = find_snapshot(database, key, seq)
    return found if found is not None and found.seq == seq else None


def end_of_append(database: sqlite3.Connection, gathering: str, seq: int) -> int:
    """Return the last op, by the op `seq`, with which an append ended; 0 if there is none."""
    key, _ = key_and_head(database, gathering)
    row = database.execute(
        "SELECT seq FROM ops WHERE gathering = ? AND seq <= ? AND head IS NOT NULL"
        " ORDER BY seq DESC LIMIT 1",
        (key, seq),
    ).fetchone()
    return 0 if row is None else int(row[0])


def changes(database: sqlite3.Connection) -> int:
    """Return how often whole logs were changed."""
    row = database.execute("SELECT number FROM changes").fetchone()
    return 0 if row is None else int(row[0])
