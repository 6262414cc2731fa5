"""One log is checked: its chain is computed anew from the ops in the tables and in the journal."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from attrs import define, field

from squire_gatherings._rules.chain import (
    HEAD_SIZE,
    head_after,
    next_head,
    sealed_time,
    state_digest,
    unsealed_time,
)
from squire_gatherings._stores.sqlite.tables import find_beginning, find_ops, find_syncs_from
from squire_gatherings._values.log import Append, LoggedOp, Snapshot, of_each


class Broken(Exception):
    """A log isn't as it was committed; `seq` is the op up to which it isn't proven."""

    def __init__(self, seq: int, what: str) -> None:
        super().__init__(what)
        self.seq = seq
        self.what = what


@define(eq=False)
class LogCheck:
    """The check of one gathering's log; the caller has begun a transaction."""

    database: sqlite3.Connection
    gathering: str
    key: int | None
    """None: all of it is in the journal."""
    tell: Callable[[], None]
    """Is called for each op."""
    first: int = 1
    """The first seq that it has."""
    last: int = 0
    """The last seq that was checked."""
    head: bytes = b""
    """The head after it."""
    _time: int = 0
    _snapshots: list[Snapshot] = field(factory=list)
    """Those in the journal."""
    _wanted: set[int] = field(factory=set)
    """The seqs of all snapshots."""
    _heads: dict[int, bytes] = field(factory=dict)
    """The heads after these."""

    def check(self, entries: Sequence[Append]) -> None:
        """Check all of it; `entries` are what the journal has of it.

        Raises:
            Broken: It isn't as it was committed.
            Exception: What reading, or computing with, values raises that were never written.
        """
        self._snapshots = [one.snapshot for one in entries if one.snapshot is not None]
        self._wanted = {one.seq for one in self._snapshots}
        if self.key is not None:
            self._check_tables(self.key)
        self._check_entries(entries)
        self._check_snapshots()

    def _proven(self, last: int, head: bytes) -> None:
        self.last, self.head = last, head
        if last in self._wanted:
            self._heads[last] = head

    def _check_tables(self, key: int) -> None:
        [end] = self.database.execute(
            "SELECT head FROM gatherings WHERE key = ?", (key,)
        ).fetchone()
        self.first, self.head = find_beginning(self.database, key)
        self.last = self.first - 1
        # One that begins with the first op may go on with the chain of one that was deleted.
        lengths = (0, HEAD_SIZE) if self.first == 1 else (HEAD_SIZE,)
        if self.first < 1 or len(self.head) not in lengths:
            raise Broken(self.first, "the log's beginning isn't one")
        self._check_time_before(key)
        rows = self.database.execute("SELECT seq FROM snapshots WHERE gathering = ?", (key,))
        seqs = {seq for [seq] in rows}
        self._wanted |= seqs
        self._proven(self.last, self.head)
        if self.first > 1 and not any(seq >= self.last for seq in seqs):
            raise Broken(self.last, "there is no snapshot in place of the first ops")
        names = self.database.execute(
            "SELECT first_seq, name FROM names WHERE gathering = ? ORDER BY first_seq", (key,)
        ).fetchall()
        begins = {self.first}
        for ops, head in self._links(key):
            first, last = self.last + 1, self.last + len(ops)
            syncs = find_syncs_from(self.database, key, first, last)
            if not head:
                raise Broken(last, f"there is no head for the ops from {first} on")
            name = next(of_each(names, first, before=self.gathering))
            if next_head(self.head, name, first, ops, syncs) != head:
                raise Broken(last, f"the ops from {first} to {last} have another head")
            self._check_times(ops)
            self._proven(last, head)
            begins.add(last + 1)
        if self.last != end:
            raise Broken(self.last + 1, f"the log ends at {self.last}, not at {end}")
        self._check_rows(key)
        # What comes next has the gathering's own name.
        if names and names[-1][1] != self.gathering:
            raise Broken(self.last, f"the log goes on as {names[-1][1]}")
        for seq, _ in names:
            if seq not in begins:
                raise Broken(self.last, f"names has a row for op {seq}, which begins no append")

    def _check_time_before(self, key: int) -> None:
        [sealed] = self.database.execute(
            "SELECT time_before FROM gatherings WHERE key = ?", (key,)
        ).fetchone()
        if self.first == 1:
            is_right = sealed is None
        else:
            is_right = (
                sealed is not None and sealed_time(self.head, unsealed_time(sealed)) == sealed
            )
        if not is_right:
            raise Broken(self.last, "the time of what was left out isn't the one that was written")

    def _links(self, key: int) -> Iterator[tuple[tuple[LoggedOp, ...], bytes]]:
        """Give the ops of each append that the tables have, and the head after them."""
        database = self.database
        epochs = of_each(
            database.execute(
                "SELECT first_seq, epoch FROM epochs WHERE gathering = ? ORDER BY first_seq", (key,)
            ),
            self.first,
            before="",
        )
        rows = database.execute(
            "SELECT seq, by, op, time, head FROM ops WHERE gathering = ? ORDER BY seq", (key,)
        )
        ops: list[LoggedOp] = []
        expected = self.first
        for (seq, by, op, time, head), epoch in zip(rows, epochs, strict=False):
            if seq != expected:
                raise Broken(expected, f"op {seq} comes where op {expected} should")
            expected += 1
            ops.append(LoggedOp(op, by, epoch, time))
            self.tell()
            if head is not None:
                yield tuple(ops), head
                ops.clear()
        if ops:
            yield tuple(ops), b""

    def _check_times(self, ops: Iterable[LoggedOp]) -> None:
        for seq, logged in enumerate(ops, start=self.last + 1):
            if logged.time < self._time:
                raise Broken(seq, "the time goes back")
            self._time = logged.time

    def _check_rows(self, key: int) -> None:
        """Look for rows of this gathering that belong to none of its ops."""
        # The syncs of ops that were left out are remembered. Clients that have just those ops are
        # known by the last epoch of these.
        for table, first in (("epochs", self.first - 1), ("syncs", 1)):
            stray = self.database.execute(
                f"SELECT first_seq FROM {table} WHERE gathering = ?"
                " AND NOT first_seq BETWEEN ? AND ? LIMIT 1",
                (key, first, self.last),
            ).fetchone()
            if stray is not None:
                raise Broken(self.last, f"{table} has a row for op {stray[0]}, which isn't there")

    def _check_entries(self, entries: Sequence[Append]) -> None:
        end = self.last
        for append in entries:
            last = append.last_seq
            if not append.ops:
                # It had nothing but a snapshot.
                continue
            if last <= end:
                # It has been folded, and waits to be deleted with its entry.
                self._compare(append, last)
            elif append.first_seq != self.last + 1:
                raise Broken(self.last + 1, f"the journal goes on with op {append.first_seq}")
            else:
                if head_after(self.head, append) != append.head:
                    raise Broken(last, "an append in the journal has another head")
                self._check_times(append.ops)
                for _ in append.ops:
                    self.tell()
                self._proven(last, append.head)

    def _compare(self, append: Append, last: int) -> None:
        there = tuple(find_ops(self.database, self.key, append.first_seq, last))
        row = self.database.execute(
            "SELECT head FROM ops WHERE gathering = ? AND seq = ?", (self.key, last)
        ).fetchone()
        syncs = find_syncs_from(self.database, self.key, append.first_seq, last)
        if there != append.ops or row != (append.head,) or syncs != append.syncs:
            raise Broken(last, "the journal and the log have different ops")

    def _check_snapshots(self) -> None:
        rows = self.database.execute(
            "SELECT seq, state, digest FROM snapshots WHERE gathering = ? ORDER BY seq", (self.key,)
        )
        for snapshot in chain((Snapshot(*row) for row in rows), self._snapshots):
            seq = snapshot.seq
            head = self._heads.get(seq)
            if head is None:
                raise Broken(seq, f"there is a snapshot of op {seq}, where no append ended")
            if snapshot.digest != state_digest(head, snapshot.state):
                raise Broken(seq, f"the snapshot of op {seq} isn't the state that was committed")
