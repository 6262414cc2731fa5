"""The writer: a group commit is one entry of the journal, folded into the tables with many others.

An append to the tables writes three pages that no other gathering's append writes; an entry of
the journal has the appends of all. Once the journal has enough of them it is folded: piece by piece
while nothing waits to be committed, and all at once if something always does.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from attrs import define, field

from squire_gatherings._hall.store import Outcome
from squire_gatherings._rules.chain import follows
from squire_gatherings._stores.group_commit import Report, Take
from squire_gatherings._stores.sqlite.connection import TROUBLE, is_locked, reading
from squire_gatherings._stores.sqlite.fold import Heads, append_each, fold, fold_file
from squire_gatherings._stores.sqlite.journal import SyncKey, Unfolded, encode_entry
from squire_gatherings._stores.sqlite.tables import (
    TableKey,
    find_gatherings,
    has_any_tombstone,
    head_in_tables,
    insert_entry,
)
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.log import Append

JOURNAL_BYTES = 1 << 22
"""About how many bytes the journal holds at most: 12,000 small ops, whose fold takes 40 ms."""
EARLY = 2
"""Folding piece by piece begins once one part in so many of the journal is full."""
PIECE = 512
"""About how many ops and syncs a piece has: a commit waits a millisecond for it at most."""
WORTHWHILE = 4
"""How many appends a gathering should have for a fold, which writes its pages once for all."""
LONGEST_WAIT = 4
"""How many times as much the journal may hold until that is so."""
TOO_LARGE = 16
"""A commit of so many times the journal's size goes straight into the tables."""
ROW_BYTES = 100
"""What an op or a sync counts for besides its bytes in the journal."""
CACHED_HEADS = 20_000
"""How many gatherings' heads are remembered."""


T = TypeVar("T")


class _CannotFlush(sqlite3.OperationalError):
    """Commits on this connection aren't flushed any more: it must be closed."""


@define(eq=False)
class Writer:
    """Writes appends into the journal, and folds it; all calls on the writer's thread.

    It forgets what it knows of the file when a commit fails, when the connection is another, and
    when somebody else has written to the file: then all that is in the journal is folded before
    anything else is written.
    """

    limit: int = JOURNAL_BYTES
    """About how many bytes the journal holds at most."""
    unfolded: Unfolded = field(factory=Unfolded)
    """What isn't folded yet; readers on any thread look at it."""
    piece: int = PIECE
    wanted: int = 0
    """How many others wait for the connection, or have it."""
    _heads: Heads = field(factory=dict)
    _database: sqlite3.Connection | None = None
    _version: int = 0
    """SQLite's number for what others have written to the file (`PRAGMA data_version`)."""

    def append_batches(
        self,
        take: Take,
        report: Report,
        check: Callable[[], None],
        database: sqlite3.Connection,
    ) -> None:
        """Commit batches as long as there are any, and fold in between.

        Args:
            take: Gives the next batch.
            report: Is told the outcome of each.
            check: Raises `StoreUnavailable`, after a commit, if it went where nobody will find it.
            database: Where to.

        Raises:
            sqlite3.Error, MemoryError, UnicodeDecodeError, StoreUnavailable: The first batch
                couldn't be committed.
                If it is a later one, this only returns: in a call of its own it waits for a lock
                as long as it should, and the file is opened again where that may help. It also
                returns after the first one where others wait.
        """
        is_first = True
        while is_first or not self.wanted:
            appends = take()
            if not appends:
                if self.fold_some(database):
                    continue
                return
            try:
                with reading():
                    outcomes = self.append_all(database, appends)
                check()
            except (*TROUBLE, StoreUnavailable) as error:
                if is_first or isinstance(error, _CannotFlush):
                    raise
                return
            report(outcomes)
            is_first = False

    def append_all(self, database: sqlite3.Connection, appends: Sequence[Append]) -> list[Outcome]:
        """Commit all these in one transaction; return what each of them came to."""
        try:
            entry = encode_entry(appends)
        except ValueError:
            # One of them can't be written.
            entry = b""
        rows = sum([len(append.ops) + len(append.syncs) for append in appends])
        size = len(entry) + rows * ROW_BYTES
        if entry and size <= TOO_LARGE * self.limit:
            if self._is_full(size, self.limit):
                self._make_room(database)
            if self._insert(database, entry, size, appends):
                return [None] * len(appends)
        # Unusual: the tables themselves say what is wrong with which append.
        with self._transaction(database) as unfolded:
            unfolded = self._fold_all(database, unfolded)
            outcomes = append_each(database, appends)
            self._heads.clear()
        self.unfolded = unfolded
        return outcomes

    def _insert(
        self, database: sqlite3.Connection, entry: bytes, size: int, appends: Sequence[Append]
    ) -> bool:
        """Commit an entry, if all in it fits on what is there, as far as we know the file."""
        if database is not self._database:
            with self._transaction(database) as unfolded:
                pass
            self.unfolded = unfolded
        try:
            after = self._after(database, appends)
            if after is None:
                return False
            heads, syncs = after
            number = insert_entry(database, entry, self._version, syncs)
        except TROUBLE as error:
            if not is_locked(error):
                self._roll_back(database)
            raise
        if number is None:
            return False
        self.unfolded.note(number, size, appends)
        self._heads.update(heads)
        return True

    def _after(
        self, database: sqlite3.Connection, appends: Sequence[Append]
    ) -> tuple[Heads, list[TableKey]] | None:
        """Return the heads after these appends, and the syncs that the tables mustn't have.

        None if not all of them fit on what is there.
        """
        heads: Heads = {}
        for append in appends:
            if append.gathering not in self._heads:
                heads[append.gathering] = None, 0
        if heads:
            found = find_gatherings(database, tuple(heads))
            heads.update(found)
            if has_any_tombstone(database, tuple(heads)) and not _follow(database, found, appends):
                # What comes after a deletion is looked at closely.
                return None
        syncs: set[SyncKey] = set()
        in_tables: list[TableKey] = []
        count = 0
        for append in appends:
            gathering = append.gathering
            key, head = heads.get(gathering) or self._heads[gathering]
            if append.first_seq != head + 1:
                return None
            heads[gathering] = key, head + len(append.ops)
            count += len(append.syncs)
            for sync in append.syncs:
                syncs.add((gathering, sync.scope, sync.id))
                if key is not None:
                    in_tables.append((key, sync.scope, sync.id))
        if len(syncs) < count or self.unfolded.has_any(syncs):
            return None
        return heads, in_tables

    # Folding.

    def fold(self, database: sqlite3.Connection) -> None:
        """Commit all that is in the journal to the tables; needs no lock if it is empty."""
        if database.execute("SELECT 1 FROM journal LIMIT 1").fetchone() is None:
            return
        with without_flushing(database):
            with reading(), self._transaction(database) as unfolded:
                unfolded = self._fold_all(database, unfolded)
            self.unfolded = unfolded

    def change(self, database: sqlite3.Connection, function: Callable[[], T]) -> T:
        """Call a function that changes the tables, in a transaction, with nothing in the journal.

        What it deletes is overwritten where it stood in the tables.
        """
        database.execute("PRAGMA secure_delete = ON")
        try:
            with self._transaction(database) as unfolded:
                self._fold_all(database, unfolded)
                found = function()
                self._heads.clear()
            self.unfolded = Unfolded()
        finally:
            database.execute("PRAGMA secure_delete = OFF")
        return found

    def fold_some(self, database: sqlite3.Connection) -> bool:
        """Fold a piece, if it's time; return whether there is more to be folded now."""
        if self.unfolded.older is None:
            if not self.unfolded.appends or not self._is_full(0, self.limit // EARLY):
                return False
            self.begin_folding()
        with without_flushing(database):
            try:
                with reading():
                    return self._fold_piece(database)
            except TROUBLE:
                # The next commit has the same trouble, and somebody to be told.
                return False

    def begin_folding(self) -> None:
        """Let what is unfolded now be folded piece by piece; nothing may be under way."""
        # The order is that of the keys, as in the tables.
        order = sorted(
            self.unfolded.appends, key=lambda one: self._heads[one][0] or 0, reverse=True
        )
        self.unfolded = self.unfolded.begin_folding(order)

    def _is_full(self, more: int, limit: int) -> bool:
        """Return whether to fold before the journal has so many bytes more."""
        unfolded = self.unfolded
        size = unfolded.size + more
        if size <= limit:
            return False
        worthwhile = unfolded.count >= WORTHWHILE * unfolded.gatherings
        return worthwhile or size > LONGEST_WAIT * limit

    def _make_room(self, database: sqlite3.Connection) -> None:
        """Fold the rest of what is being folded, or all that there is."""
        if self.unfolded.older is None:
            self.fold(database)
        while self.unfolded.older is not None and self.fold_some(database):
            pass

    def _fold_all(self, database: sqlite3.Connection, unfolded: Unfolded) -> Unfolded:
        everything = unfolded.everything()
        if not everything:
            return unfolded
        heads = fold(database, everything)
        if heads:
            database.execute("DELETE FROM journal")
        if not heads or len(self._heads) > CACHED_HEADS:
            self._heads.clear()
        self._heads.update(heads)
        return Unfolded()

    def _fold_piece(self, database: sqlite3.Connection) -> bool:
        heads: Heads = {}
        with self._transaction(database) as unfolded:
            older = unfolded.older
            if older is not None:
                heads = fold(database, older.next_piece(self.piece))
                if not heads:
                    unfolded, older = Unfolded(), None
                    self._heads.clear()
                elif not older.remaining:
                    database.execute("DELETE FROM journal WHERE number <= ?", (older.last,))
        self.unfolded = unfolded
        if older is None:
            return False
        # What has been committed since is later than what was folded.
        self._heads.update((one, (key, self._heads[one][1])) for one, (key, _) in heads.items())
        if not older.remaining:
            unfolded.end_folding()
            self._forget_heads()
        return unfolded.older is not None

    def _forget_heads(self) -> None:
        """Forget heads, if there are too many, which are also in the tables."""
        if len(self._heads) > CACHED_HEADS:
            unfolded = self.unfolded.appends
            self._heads = {one: head for one, head in self._heads.items() if one in unfolded}

    # Transactions.

    @contextmanager
    def _transaction(self, database: sqlite3.Connection) -> Iterator[Unfolded]:
        """Hold the lock, and commit at the end; gives what is unfolded."""
        database.execute("BEGIN IMMEDIATE")
        try:
            yield self._known(database)
            database.execute("COMMIT")
        except BaseException:
            self._roll_back(database)
            raise

    def _known(self, database: sqlite3.Connection) -> Unfolded:
        """Return what is unfolded: nothing any more, if others may have written."""
        # Within the transaction: nobody else can write from here on.
        [version] = database.execute("PRAGMA data_version").fetchone()
        if database is self._database and version == self._version:
            return self.unfolded
        self._heads.clear()
        fold_file(database)
        self._database, self._version = database, version
        return Unfolded()

    def _roll_back(self, database: sqlite3.Connection) -> None:
        """Roll back, and forget all: a commit that failed may be in the file all the same."""
        self.unfolded = Unfolded()
        self._heads.clear()
        self._database = None
        if database.in_transaction:
            database.execute("ROLLBACK")


def _follow(
    database: sqlite3.Connection,
    found: Mapping[str, tuple[int, int]],
    appends: Sequence[Append],
) -> bool:
    """Return whether those gatherings that were deleted once have gone on since, as these do."""
    for append in appends:
        if has_any_tombstone(database, (append.gathering,)):
            if append.gathering not in found:
                return False
            if not follows(head_in_tables(database, *found[append.gathering]), append):
                return False
    return True


@contextmanager
def without_flushing(database: sqlite3.Connection) -> Iterator[None]:
    """Commit folds without waiting for the disk: the journal still has what a power loss undoes.

    So are other commits, of which it doesn't matter if a power loss undoes them.

    A write-ahead log that is flushed is flushed from its beginning: the next commit does it.
    """
    database.execute("PRAGMA synchronous = NORMAL")
    try:
        yield
    finally:
        try:
            database.execute("PRAGMA synchronous = FULL")
        except TROUBLE as error:
            raise _CannotFlush(str(error)) from error
