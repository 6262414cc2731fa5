"""The journal: a group commit writes one row, which goes into the tables later, with many others.

An append to the tables writes three pages that no other gathering's append writes; a row of the
journal has the appends of all. Once it has enough of them it is folded (see `sqlite_fold`): piece
by piece while nothing waits to be committed; if that never is so, all of it at once.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from attrs import define, field

from squire_gatherings._hall.store import Outcome
from squire_gatherings._stores.sqlite.connection import is_locked
from squire_gatherings._stores.sqlite.fold import Heads, end, fold, fold_file
from squire_gatherings._stores.sqlite.group_commit import Report, Take
from squire_gatherings._stores.sqlite.journal import encode_entry
from squire_gatherings._stores.sqlite.statements import append_each
from squire_gatherings._stores.sqlite.tables import TableKey, find_gatherings, insert_entry
from squire_gatherings._stores.sqlite.unfolded import SyncKey, Unfolded
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.log import Append

JOURNAL_BYTES = 1 << 22
"""How much the journal holds at most, about: 12,000 small ops, whose fold takes 40 ms."""
EARLY = 2
"""With one part of it in so many, folding piece by piece begins."""
PIECE = 512
"""About how many ops and syncs a piece has: what waits for it waits a millisecond at most."""
WORTHWHILE = 4
"""How many appends a gathering should have for a fold, which writes its pages once for all."""
LONGEST_WAIT = 4
"""How many times as much the journal may hold until that is so."""
TOO_LARGE = 16
"""How many times as much one commit must have to go straight into the tables."""
ROW_BYTES = 100
"""What an op or a sync counts for besides its bytes in the journal."""
CACHED_HEADS = 20_000
"""Of how many gatherings the heads are remembered."""


@define(eq=False)
class Journal:
    """Writes appends into the journal, and folds it; all calls on the writer's thread.

    What it knows of the file it forgets when a commit fails, when the connection is
    another, and when somebody else has written to the file: all that is in the journal is
    folded then, before anything else is written.
    """

    limit: int = JOURNAL_BYTES
    unfolded: Unfolded = field(factory=Unfolded)
    """For readers on any thread."""
    piece: int = PIECE
    _heads: Heads = field(factory=dict)
    _database: sqlite3.Connection | None = None
    _version: int = 0
    """SQLite's number for what others have written to the file."""

    def append_batches(
        self,
        database: sqlite3.Connection,
        take: Take,
        report: Report,
        check: Callable[[], None],
    ) -> None:
        """Commit batches as long as there are any, or until one fails; fold in between.

        After each commit `check` raises `StoreUnavailable` if it went where nobody will find it.
        Only for the first one that is raised: a call of its own, which the next one has then,
        waits for a lock as long as it should, and opens the file again where that may help.
        """
        is_first = True
        while True:
            appends = take()
            if not appends:
                if self.fold_some(database):
                    continue
                return
            try:
                outcomes = self.append_all(database, appends)
                check()
            except (sqlite3.Error, MemoryError, StoreUnavailable):
                if is_first:
                    raise
                return
            report(outcomes)
            is_first = False

    def append_all(self, database: sqlite3.Connection, appends: Sequence[Append]) -> list[Outcome]:
        """Commit all these in one transaction; return what each of them came to."""
        entry = _entry(appends)
        size = 0 if entry is None else len(entry) + sum(_rows(one) for one in appends) * ROW_BYTES
        if entry is not None and size <= TOO_LARGE * self.limit:
            if self._is_full(self.unfolded, size, self.limit):
                self._make_room(database)
            if self._insert(database, entry, size, appends):
                return [None] * len(appends)
        # Unusual: the tables themselves say what is wrong with which append.
        with self._transaction(database) as unfolded:
            unfolded = self._fold(database, unfolded)
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
        except sqlite3.Error as error:
            if not is_locked(error):
                self._give_up(database)
            raise
        if number is None:
            return False
        self.unfolded.note(number, size, appends)
        self._heads.update(heads)
        return True

    def fold(self, database: sqlite3.Connection) -> None:
        """Commit all that is in the journal to the tables; needs no lock if it is empty."""
        if database.execute("SELECT 1 FROM journal LIMIT 1").fetchone() is None:
            return
        with _without_waiting_for_the_disk(database):
            with self._transaction(database) as unfolded:
                unfolded = self._fold(database, unfolded)
            self.unfolded = unfolded

    def _make_room(self, database: sqlite3.Connection) -> None:
        """Fold what is being folded to its end, or all that there is."""
        if self.unfolded.older is None:
            self.fold(database)
        while self.unfolded.older is not None and self.fold_some(database):
            pass

    def fold_some(self, database: sqlite3.Connection) -> bool:
        """Fold a piece, if it's time; whether there is more to be folded now."""
        unfolded = self.unfolded
        if unfolded.older is None:
            if not unfolded.appends or not self._is_full(unfolded, 0, self.limit // EARLY):
                return False
            self.begin_folding()
        with _without_waiting_for_the_disk(database):
            try:
                return self._fold_piece(database)
            except (sqlite3.Error, MemoryError):
                # The next commit has the same trouble, and somebody to be told.
                return False

    def begin_folding(self) -> None:
        """Let what is unfolded now be folded piece by piece; nothing may be under way."""
        # By their keys, as the tables are.
        order = sorted(
            self.unfolded.appends, key=lambda one: self._heads[one][0] or 0, reverse=True
        )
        self.unfolded = self.unfolded.begin_folding(order)

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

    @contextmanager
    def _transaction(self, database: sqlite3.Connection) -> Iterator[Unfolded]:
        """Hold the lock, commit at the end; says what is unfolded."""
        database.execute("BEGIN IMMEDIATE")
        try:
            yield self._known(database)
            database.execute("COMMIT")
        except BaseException:
            self._give_up(database)
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

    def _fold(self, database: sqlite3.Connection, unfolded: Unfolded) -> Unfolded:
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

    @staticmethod
    def _is_full(unfolded: Unfolded, more: int, limit: int) -> bool:
        size = unfolded.size + more
        if size <= limit:
            return False
        worthwhile = unfolded.count >= WORTHWHILE * unfolded.gatherings
        return worthwhile or size > LONGEST_WAIT * limit

    def _forget_heads(self) -> None:
        """Forget heads, if there are too many, which are also in the tables."""
        if len(self._heads) > CACHED_HEADS:
            unfolded = self.unfolded.appends
            self._heads = {one: head for one, head in self._heads.items() if one in unfolded}

    def _after(
        self, database: sqlite3.Connection, appends: Sequence[Append]
    ) -> tuple[Heads, list[TableKey]] | None:
        """Return the heads after these appends, and the syncs that the tables mustn't have.

        None if not all of them fit on what is there.
        """
        unknown = [one.gathering for one in appends if one.gathering not in self._heads]
        heads: Heads = dict.fromkeys(unknown, (None, 0))
        heads.update(find_gatherings(database, tuple(heads)))
        syncs: set[SyncKey] = set()
        in_tables: list[TableKey] = []
        count = 0
        for append in appends:
            gathering = append.gathering
            key, head = heads.get(gathering) or self._heads[gathering]
            if append.first_seq != head + 1:
                return None
            heads[gathering] = (key, end(append))
            count += len(append.syncs)
            for sync in append.syncs:
                syncs.add((gathering, sync.scope, sync.id))
                if key is not None:
                    in_tables.append((key, sync.scope, sync.id))
        if len(syncs) < count or self.unfolded.has_any(syncs):
            return None
        return heads, in_tables

    def _give_up(self, database: sqlite3.Connection) -> None:
        """Roll back. Whether a commit that failed happened all the same is in the file."""
        self.unfolded = Unfolded()
        self._heads.clear()
        self._database = None
        if database.in_transaction:
            database.execute("ROLLBACK")


@contextmanager
def _without_waiting_for_the_disk(database: sqlite3.Connection) -> Iterator[None]:
    """Fold: what a loss of power undoes is still in the journal.

    A write-ahead log that is flushed is flushed from its beginning: the next commit does it.
    """
    database.execute("PRAGMA synchronous = NORMAL")
    try:
        yield
    finally:
        database.execute("PRAGMA synchronous = FULL")


def _entry(appends: Sequence[Append]) -> bytes | None:
    """Return the entry of these, or None if one of them can't be written."""
    try:
        return encode_entry(appends)
    except ValueError:
        return None


def _rows(append: Append) -> int:
    return len(append.ops) + len(append.syncs)
