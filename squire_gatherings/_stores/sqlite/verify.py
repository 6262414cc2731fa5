"""The verification: whether a file has what was committed to it, to the byte.

Every chain is computed anew from the ops. What differs from the heads that were stored, or from a
snapshot's digest, was changed afterwards. It only reads, also a file that a server has open.
"""

import sqlite3
from collections.abc import Collection, Sequence
from contextlib import closing
from functools import cache
from itertools import islice
from pathlib import Path

import msgspec
from attrs import define, field

from squire_gatherings._rules.chain import (
    tombstone_digest,
)
from squire_gatherings._stores.findings import Progress, Proven, Report, said
from squire_gatherings._stores.kept import read_event, read_sleeper
from squire_gatherings._stores.sqlite.journal import decode_entry, encode_entry
from squire_gatherings._stores.sqlite.log_check import Broken, LogCheck
from squire_gatherings._stores.sqlite.migration import migrate
from squire_gatherings._stores.sqlite.read_only import open_to_read
from squire_gatherings._stores.sqlite.schema import OF_A_GATHERING, VERSION, schema_version
from squire_gatherings._values.errors import StoreUnavailable, StoreUnusable
from squire_gatherings._values.log import Append

MOST_WRONG = 100
"""How many of the findings of SQLite's own check are listed."""

_COLUMNS = """
    SELECT one.name, one.type, one.tbl_name,
        column.name, column.type, "notnull", dflt_value, pk
    FROM sqlite_schema AS one LEFT JOIN pragma_table_xinfo(one.name) AS column
"""

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
        with closing(open_to_read(path)) as database:
            try:
                version = schema_version(database)
            except StoreUnusable as error:
                raise StoreUnusable(f"{path}: {error}") from None
            if version != VERSION:
                raise StoreUnusable(
                    f"{path}: has schema version {version}, not {VERSION}: serve it once"
                    if version
                    else f"{path}: the file is empty"
                )
            database.execute("BEGIN")
            return _Verification(database, progress).run(gatherings)
    except (*_GARBLED, MemoryError) as error:
        raise StoreUnavailable(f"{path}: {error}") from None


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
        ids: dict[str, int] = {}
        for key, gathering in rows:
            if isinstance(gathering, str):
                ids[gathering] = key
            else:
                self._wrong(None, None, f"a gathering's id is {gathering!r:.80}")
        for gathering in sorted(ids.keys() | entries.keys()):
            if not gatherings or gathering in gatherings:
                self._verify(gathering, ids.get(gathering), entries.get(gathering, ()))
        for gathering in sorted(set(gatherings) - ids.keys() - entries.keys()):
            self._wrong(gathering, None, "there is no such gathering")
        if not gatherings:
            self._look_for_others()
        self._look_at_tables()
        self._ask_sqlite()
        return self.report

    def _wrong(self, gathering: str | None, seq: int | None, what: str) -> None:
        self.report.add(gathering, seq, what)

    # The journal.

    def _entries(self) -> dict[str, list[Append]]:
        """Return what the journal has of each gathering."""
        found: dict[str, list[Append]] = {}
        try:
            rows = self.database.execute("SELECT number, entry FROM journal ORDER BY number")
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
        log = LogCheck(self.database, gathering, key, self._tell)
        try:
            log.check(entries)
        except Broken as broken:
            self._wrong(gathering, broken.seq, broken.what)
        except _UNREADABLE as error:
            self._wrong(gathering, log.last + 1, f"can't be read: {error}")
        else:
            self.report.proven.append(Proven(gathering, log.last, log.head.hex()))

    def _tell(self) -> None:
        self.report.tell(self.progress, self._all)

    # All else.

    def _look_for_others(self) -> None:
        """Look at what belongs to no gathering."""
        database = self.database
        try:
            for table in OF_A_GATHERING:
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
            self._look_at_events()
            self._look_at_sleepers()
            [self.report.refused] = database.execute("SELECT count(*) FROM refused").fetchone()
        except _UNREADABLE as error:
            self._wrong(None, None, f"can't be read: {error}")

    def _look_at_events(self) -> None:
        """Look at the lifecycle events that wait to be delivered, and who is open."""
        for table, key in (("events", "number"), ("incarnations", "id")):
            for row, *event in self.database.execute(f"SELECT {key}, event, digest FROM {table}"):
                try:
                    found = read_event(*event)
                    if row != (found.number if table == "events" else found.incarnation):
                        raise ValueError("it is another one's")
                except _UNREADABLE as error:
                    self._wrong(None, None, f"{table} {row!r:.80}: {error}")

    def _look_at_sleepers(self) -> None:
        """Look at what is said of gatherings that sleep."""
        rows = self.database.execute("SELECT incarnation, gathering, state, digest FROM sleepers")
        for incarnation, gathering, *state in rows:
            try:
                found = read_sleeper(*state)
                if (incarnation, gathering) != (found.state.incarnation, found.gathering):
                    raise ValueError("it is another one's")
            except _UNREADABLE as error:
                self._wrong(None, None, f"sleepers {incarnation!r:.80}: {error}")

    def _look_at_tables(self) -> None:
        """Compare the tables, their columns and the indexes with those of a new file."""
        expected = _columns_of_a_new_file()
        try:
            there = set(self.database.execute(_COLUMNS).fetchall())
        except _GARBLED as error:
            self._wrong(None, None, f"the tables can't be read: {error}")
            return
        for name in sorted({str(row[0]) for row in expected ^ there}):
            self._wrong(None, None, f"the table or index {said(name)} isn't as it was made")

    def _ask_sqlite(self) -> None:
        """Let SQLite look at the file's structure, its indexes and the types of values."""
        try:
            rows = self.database.execute(f"PRAGMA integrity_check({MOST_WRONG})").fetchall()
        except _GARBLED as error:
            rows = [(str(error),)]
        for [found] in rows:
            if found != "ok":
                self._wrong(None, None, f"SQLite says: {found}")


@cache
def _columns_of_a_new_file() -> frozenset[tuple[object, ...]]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as new:
        migrate(new)
        return frozenset(new.execute(_COLUMNS).fetchall())
