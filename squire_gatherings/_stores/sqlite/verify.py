"""The verification: whether a file has what was committed to it, to the byte.

Every chain is computed anew from the ops. What differs from the heads that were stored, or from a
snapshot's digest, was changed afterwards. It only reads, also a file that a server has open.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain, islice
from pathlib import Path

import msgspec
from attrs import define, field, frozen

from squire_gatherings._rules.chain import (
    head_after,
    next_head,
    state_digest,
    tombstone_digest,
)
from squire_gatherings._stores.sqlite.journal import decode_entry, encode_entry
from squire_gatherings._stores.sqlite.schema import VERSION, schema_version
from squire_gatherings._stores.sqlite.tables import (
    find_beginning,
    find_ops,
    find_syncs_from,
)
from squire_gatherings._values.errors import StoreUnavailable, StoreUnusable
from squire_gatherings._values.log import Append, LoggedOp, Snapshot, of_each
from squire_gatherings._values.op import Op

BUSY_TIMEOUT = 10.0
"""For how many seconds somebody else's lock is waited for."""
TELL_EVERY = 1000
"""After how many ops progress is told."""
MOST_WRONG = 100
"""How many of the findings of SQLite's own check are listed."""

Progress = Callable[[int, int], None]
"""Takes how many ops were verified, and how many there are in all; may raise to give up."""

_GARBLED = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite's module raises over a file: the second where its message isn't text."""

_UNREADABLE = (
    *_GARBLED,
    msgspec.MsgspecError,
    MemoryError,
    ValueError,
    TypeError,
    OverflowError,
    AttributeError,
)
"""What reading, or computing with, values raises that can't be what was written."""


@frozen
class Wrong:
    """Something that isn't as it was committed: the first in its gathering."""

    gathering: str | None
    """None where it belongs to none."""
    seq: int | None
    """The op up to which the log isn't proven; None where it isn't about ops."""
    what: str


@frozen
class Proven:
    """A gathering whose log is as it was committed, and the head of its chain."""

    gathering: str
    seq: int
    head: str
    """In hexadecimal digits; empty if it has no ops."""


@define
class Report:
    """What was found in a file."""

    proven: list[Proven] = field(factory=list)
    wrong: list[Wrong] = field(factory=list)
    ops: int = 0
    """How many ops were looked at."""
    refused: int = 0
    """How many appends are kept in the table `refused`, since they didn't fit on the log."""


def verify(path: Path, gatherings: Collection[str], progress: Progress) -> Report:
    """Verify a store's file, as it is at one moment.

    Args:
        path: The file.
        gatherings: The ids of those to be verified; if there are none, all of them are, and all
            else that the file has.
        progress: Is told now and then how far it is.

    Returns:
        What was found.

    Raises:
        StoreUnusable: The file isn't a store, or is one of another version.
        StoreUnavailable: It can't be read now.
        BaseException: Whatever `progress` raises.
    """
    if not path.is_file():
        raise StoreUnusable(f"{path}: no such file")
    try:
        with closing(_open(path)) as database:
            try:
                version = schema_version(database)
            except StoreUnusable as error:
                raise StoreUnusable(f"{path}: {error}") from None
            if version != VERSION:
                raise StoreUnusable(
                    f"{path}: has schema version {version}, and no chain: serve it once"
                    if version
                    else f"{path}: the file is empty"
                )
            database.execute("BEGIN")
            return _Verification(database, progress).run(gatherings)
    except (*_GARBLED, MemoryError) as error:
        raise StoreUnavailable(f"{path}: {error}") from None


def _open(path: Path) -> sqlite3.Connection:
    """Open a file to read it; neither it nor its write-ahead log is changed, also at the end."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,
    )
    # Text that isn't UTF-8 any more is read as what no store would take.
    connection.text_factory = lambda text: text.decode(errors="surrogateescape")
    return connection


class _Broken(Exception):
    """A log isn't as it was committed; `seq` is the op up to which it isn't proven."""

    def __init__(self, seq: int | None, what: str) -> None:
        super().__init__(what)
        self.seq = seq
        self.what = what


@define(eq=False)
class _Log:
    """One gathering's log, while it is verified."""

    gathering: str
    key: int | None = None
    """None: all of it is in the journal."""
    first: int = 1
    """The first seq that it has."""
    last: int = 0
    """The last seq that was verified."""
    head: bytes = b""
    time: int = 0
    snapshots: list[Snapshot] = field(factory=list)
    """Those in the journal."""
    wanted: set[int] = field(factory=set)
    """The seqs of all snapshots."""
    heads: dict[int, bytes] = field(factory=dict)
    """The heads after these."""

    def proven(self, last: int, head: bytes) -> None:
        self.last, self.head = last, head
        if last in self.wanted:
            self.heads[last] = head


@define(eq=False)
class _Verification:
    """One verification, within one transaction."""

    database: sqlite3.Connection
    progress: Progress
    report: Report = field(factory=Report)
    _all: int = 0

    def run(self, gatherings: Collection[str]) -> Report:
        database = self.database
        try:
            [self._all] = database.execute(
                "SELECT coalesce(sum(head - first_seq + 1), 0) FROM gatherings"
            ).fetchone()
            rows = database.execute("SELECT key, id FROM gatherings ORDER BY id").fetchall()
        except _GARBLED as error:
            # It is a store, of which not even this can be read.
            self._wrong(None, None, str(error))
            self._ask_sqlite()
            return self.report
        entries = self._entries()
        ids = {gathering: key for key, gathering in rows}
        for gathering in sorted(ids.keys() | entries.keys()):
            if not gatherings or gathering in gatherings:
                self._verify(gathering, ids.get(gathering), entries.get(gathering, ()))
        for gathering in sorted(set(gatherings) - ids.keys() - entries.keys()):
            self._wrong(gathering, None, "there is no such gathering")
        if not gatherings:
            self._look_for_others()
        self._ask_sqlite()
        return self.report

    def _wrong(self, gathering: str | None, seq: int | None, what: str) -> None:
        self.report.wrong.append(Wrong(None if gathering is None else _said(gathering), seq, what))

    # The journal.

    def _entries(self) -> dict[str, list[Append]]:
        """Return what the journal has of each gathering."""
        found: dict[str, list[Append]] = {}
        rows = self.database.execute("SELECT number, entry FROM journal ORDER BY number")
        try:
            for number, entry in rows:
                for append in self._decode(number, entry):
                    found.setdefault(append.gathering, []).append(append)
        except _GARBLED as error:
            self._wrong(None, None, f"the journal can't be read: {error}")
        return found

    def _decode(self, number: int, entry: bytes) -> list[Append]:
        try:
            appends = decode_entry(entry)
            # Nothing else means the same: not even a bit that is never read can be another.
            if encode_entry(appends) != entry:
                raise ValueError("it isn't what was written")
        except _UNREADABLE as error:
            self._wrong(None, None, f"the journal's entry {number} can't be read: {error}")
            return []
        return appends

    # One gathering.

    def _verify(self, gathering: str, key: int | None, entries: Sequence[Append]) -> None:
        snapshots = [append.snapshot for append in entries if append.snapshot is not None]
        log = _Log(gathering, key, snapshots=snapshots, wanted={one.seq for one in snapshots})
        try:
            if key is not None:
                self._verify_tables(log, key)
            self._verify_entries(log, entries)
            self._verify_snapshots(log)
        except _Broken as broken:
            self._wrong(gathering, broken.seq, broken.what)
        except _UNREADABLE as error:
            self._wrong(gathering, log.last + 1, f"can't be read: {error}")
        else:
            self.report.proven.append(Proven(gathering, log.last, log.head.hex()))

    def _verify_tables(self, log: _Log, key: int) -> None:
        [end] = self.database.execute(
            "SELECT head FROM gatherings WHERE key = ?", (key,)
        ).fetchone()
        log.first, log.head = find_beginning(self.database, key)
        log.last = log.first - 1
        if log.first < 1 or (log.first == 1) != (log.head == b""):
            raise _Broken(log.first, "the log's beginning isn't one")
        rows = self.database.execute("SELECT seq FROM snapshots WHERE gathering = ?", (key,))
        seqs = {seq for [seq] in rows}
        log.wanted |= seqs
        log.proven(log.last, log.head)
        if log.first > 1 and not any(seq >= log.last for seq in seqs):
            raise _Broken(log.last, "there is no snapshot in place of the first ops")
        for ops, head in self._links(log, key):
            first, last = log.last + 1, log.last + len(ops)
            syncs = find_syncs_from(self.database, key, first, last)
            if not head:
                raise _Broken(last, f"there is no head for the ops from {first} on")
            if next_head(log.head, log.gathering, first, ops, syncs) != head:
                raise _Broken(last, f"the ops from {first} to {last} have another head")
            self._check_times(log, ops)
            log.proven(last, head)
        if log.last != end:
            raise _Broken(log.last + 1, f"the log ends at {log.last}, not at {end}")
        self._check_rows(log, key)

    def _links(self, log: _Log, key: int) -> Iterator[tuple[tuple[LoggedOp, ...], bytes]]:
        """Give the ops of each append that the tables have, and the head after them."""
        database = self.database
        epochs = of_each(
            database.execute(
                "SELECT first_seq, epoch FROM epochs WHERE gathering = ? ORDER BY first_seq", (key,)
            ),
            log.first,
            before="",
        )
        rows = database.execute(
            "SELECT seq, by, op, time, head FROM ops WHERE gathering = ? ORDER BY seq", (key,)
        )
        ops: list[LoggedOp] = []
        expected = log.first
        for (seq, by, op, time, head), epoch in zip(rows, epochs, strict=False):
            if seq != expected:
                raise _Broken(expected, f"op {seq} comes where op {expected} should")
            expected += 1
            ops.append(LoggedOp(Op(op), by, epoch, time))
            self._tell()
            if head is not None:
                yield tuple(ops), head
                ops.clear()
        if ops:
            yield tuple(ops), b""

    def _tell(self) -> None:
        self.report.ops += 1
        if not self.report.ops % TELL_EVERY:
            self.progress(self.report.ops, max(self._all, self.report.ops))

    def _check_times(self, log: _Log, ops: Iterable[LoggedOp]) -> None:
        for seq, logged in enumerate(ops, start=log.last + 1):
            if logged.time < log.time:
                raise _Broken(seq, "the time goes back")
            log.time = logged.time

    def _check_rows(self, log: _Log, key: int) -> None:
        """Look for rows of this gathering that belong to none of its ops."""
        # Of ops that were left out, the syncs are remembered.
        for table, first in (("epochs", log.first), ("syncs", 1)):
            stray = self.database.execute(
                f"SELECT first_seq FROM {table} WHERE gathering = ?"
                " AND NOT first_seq BETWEEN ? AND ? LIMIT 1",
                (key, first, log.last),
            ).fetchone()
            if stray is not None:
                raise _Broken(log.last, f"{table} has a row for op {stray[0]}, which isn't there")

    def _verify_entries(self, log: _Log, entries: Sequence[Append]) -> None:
        end = log.last
        for append in entries:
            last = append.first_seq + len(append.ops) - 1
            if not append.ops:
                # It had nothing but a snapshot.
                continue
            if last <= end:
                # It has been folded, and waits to be deleted with its entry.
                self._compare(log, append, last)
            elif append.first_seq != log.last + 1:
                raise _Broken(log.last + 1, f"the journal goes on with op {append.first_seq}")
            else:
                if head_after(log.head, append) != append.head:
                    raise _Broken(last, "an append in the journal has another head")
                self._check_times(log, append.ops)
                for _ in append.ops:
                    self._tell()
                log.proven(last, append.head)

    def _compare(self, log: _Log, append: Append, last: int) -> None:
        there = tuple(find_ops(self.database, log.key, append.first_seq, last))
        row = self.database.execute(
            "SELECT head FROM ops WHERE gathering = ? AND seq = ?", (log.key, last)
        ).fetchone()
        syncs = find_syncs_from(self.database, log.key, append.first_seq, last)
        if there != append.ops or row != (append.head,) or syncs != append.syncs:
            raise _Broken(last, "the journal and the log have different ops")

    def _verify_snapshots(self, log: _Log) -> None:
        rows = self.database.execute(
            "SELECT seq, state, digest FROM snapshots WHERE gathering = ? ORDER BY seq", (log.key,)
        )
        for snapshot in chain((Snapshot(*row) for row in rows), log.snapshots):
            seq = snapshot.seq
            head = log.heads.get(seq)
            if head is None:
                raise _Broken(seq, f"there is a snapshot of op {seq}, where no append ended")
            if snapshot.digest != state_digest(head, snapshot.state):
                raise _Broken(seq, f"the snapshot of op {seq} isn't the state that was committed")

    # All else.

    def _look_for_others(self) -> None:
        """Look at what belongs to no gathering."""
        database = self.database
        try:
            for table in ("ops", "epochs", "syncs", "snapshots"):
                rows = database.execute(
                    f"SELECT DISTINCT gathering FROM {table}"
                    " WHERE gathering NOT IN (SELECT key FROM gatherings)"
                )
                for [key] in islice(rows, MOST_WRONG):
                    self._wrong(None, None, f"{table} of a gathering {key} that isn't there")
            for gathering, seq, head, time, digest in database.execute(
                "SELECT id, seq, head, time, digest FROM tombstones"
            ):
                if digest != tombstone_digest(gathering, seq, head, time):
                    self._wrong(gathering, seq, "its tombstone isn't what was written")
            [self.report.refused] = database.execute("SELECT count(*) FROM refused").fetchone()
        except _UNREADABLE as error:
            self._wrong(None, None, f"can't be read: {error}")

    def _ask_sqlite(self) -> None:
        """Let SQLite look at the file's structure, its indexes and the types of values."""
        try:
            rows = self.database.execute(f"PRAGMA integrity_check({MOST_WRONG})").fetchall()
        except _GARBLED as error:
            rows = [(str(error),)]
        for [found] in rows:
            if found != "ok":
                self._wrong(None, None, f"SQLite says: {found}")


def _said(text: str) -> str:
    # An id that was changed may not be text any more.
    return text.encode(errors="backslashreplace").decode()
