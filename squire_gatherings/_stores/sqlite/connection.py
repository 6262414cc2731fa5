"""One connection to an SQLite file, used on worker threads only, and reopened after errors."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import trio
from attrs import define, field

from squire_gatherings._stores.sqlite.migration import migrate
from squire_gatherings._stores.sqlite.place import Place
from squire_gatherings._stores.sqlite.schema import VERSION, schema_version
from squire_gatherings._values.errors import GatheringsError, StoreUnavailable, StoreUnusable

T = TypeVar("T")

Call = Callable[[sqlite3.Connection], T]
"""What is done with the connection, on a worker thread."""

TROUBLE = (sqlite3.Error, MemoryError, UnicodeDecodeError)
"""What SQLite's module raises. The last is for a damaged file, where what is wrong isn't text."""
STEPS = 500
"""After how many steps of its machine SQLite tells a handler of its progress. They copy some 90
rows: within 0.1 ms if these are small, and within 0.1 s if they are as large as messages may be."""
_UNREADABLE = (TypeError, AttributeError, ValueError, OverflowError)
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
CHECKPOINT_PAGES = 4000
"""How long the write-ahead log grows (16 MiB): a page that is written often is copied seldom."""
WAL_BYTES = 32 << 20
"""How many bytes are kept of a write-ahead log that grew larger while somebody read for long."""
FIRST_PAUSE = 0.001
"""How many seconds pass until a lock is tried again; twice as many after each further attempt."""
LONGEST_PAUSE = 0.05
"""The longest such pause, in seconds."""


class _Locked(StoreUnavailable):
    """Somebody else has the lock that this needs."""


@define(eq=False)
class Database:
    """A file and the connection to it, which one worker thread uses at a time.

    A lock that somebody else holds is waited for here and not in the thread, where SQLite would
    wait: so the wait costs no thread, and can be cancelled.
    """

    place: Place
    busy_timeout: float
    """How many seconds we wait for a lock."""
    may_be_empty: bool = False
    """Whether `open` takes an empty file for a new one. Reopening never does: a log that
    vanished mustn't pass for an empty one."""
    may_migrate: bool = True
    """Whether a file of an older schema is made one of the newest."""
    only_reads: bool = False
    """Whether what is called only reads the file, and nothing else."""
    _limiter: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(1))
    _connection: sqlite3.Connection | None = None
    _closed: bool = False

    @property
    def is_busy(self) -> bool:
        """Whether something is being called."""
        return self._limiter.borrowed_tokens > 0

    async def open(self) -> None:
        """Open the file now.

        Raises:
            StoreUnusable: It can't be a store's file.
            StoreUnavailable: It can't be opened now.

        Cancellation: as for `call`.
        """
        try:
            await self.call(_nothing)
        except StoreUnavailable as error:
            if isinstance(error.__cause__, StoreUnusable):
                raise StoreUnusable(f"{self.place.path}: {error.__cause__}") from None
            raise
        self.may_be_empty = False

    async def call(self, function: Call[T]) -> T:
        """Run `function` on a worker thread, with the connection, and return what it returns.

        Raises:
            StoreUnavailable: SQLite raised an error, the file isn't there, or it is another.

        Cancellation: before the call or between two attempts to have a lock it does nothing; what
        runs on the thread is waited for, so that no connection is ever used by two.
        """
        give_up_at = trio.current_time() + self.busy_timeout
        pause = FIRST_PAUSE
        while True:
            try:
                return await trio.to_thread.run_sync(self._run, function, limiter=self._limiter)
            except _Locked as locked:
                now = trio.current_time()
                if now >= give_up_at:
                    raise StoreUnavailable(*locked.args) from locked.__cause__
            await trio.sleep(min(pause, give_up_at - now))
            pause = min(pause * 2, LONGEST_PAUSE)

    async def close(self, *last: Call[object]) -> None:
        """Close for good, after these last calls, each of which may fail and none of which waits.

        Cancellation: as for `disconnect`.
        """
        self._closed = True
        await self.disconnect(*last)

    async def disconnect(self, *last: Call[object]) -> None:
        """Close the connection, after such last calls; the next `call` opens another.

        Cancellation: before it began, it does nothing; later, it is waited for.
        """
        await trio.to_thread.run_sync(self._finish, last, limiter=self._limiter)

    def _run(self, function: Call[T]) -> T:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        self.place.check()
        try:
            if self._connection is None:
                self._connection = self._open()
            if not self.only_reads:
                return function(self._connection)
            with reading():
                return function(self._connection)
        except StoreUnusable as error:
            # Somebody put another file in its place; the right one may come back.
            raise StoreUnavailable(f"{self.place.path.name}: {error}") from error
        except TROUBLE as error:
            reason = f"{self.place.path.name}: {str(error) or type(error).__name__}"
            if is_locked(error):
                raise _Locked(reason) from error
            # The file may have been mended or put in another's place: look again.
            self._close()
            raise StoreUnavailable(reason) from error

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.place.path.as_uri()}?mode=rw",
            uri=True,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            # First of all: not even the journal mode of somebody else's file is changed.
            version = schema_version(connection)
            if version == 0 and not self.may_be_empty:
                raise StoreUnusable("the file is empty, and wasn't before")
            if version < VERSION and not self.may_migrate:
                why = f"the process that has it uses schema {version}, and this one {VERSION}"
                raise StoreUnusable(why)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
            # Where SQLite is built to overwrite what is deleted: the journal is no secret.
            connection.execute("PRAGMA secure_delete = OFF")
            with reading():
                migrate(connection)
        except BaseException:
            connection.close()
            raise
        try:
            # By now it has a write-ahead log.
            self.place.opened()
        except BaseException:
            self.place.closing()
            connection.close()
            raise
        return connection

    def _finish(self, last: Iterable[Call[object]]) -> None:
        try:
            if self._connection is not None and not self.place.give_up():
                for function in last:
                    with suppress(*TROUBLE):
                        function(self._connection)
        finally:
            self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self.place.closing()
            with suppress(*TROUBLE):
                connection.close()


@contextmanager
def reading() -> Iterator[None]:
    """Raise an error of SQLite's where a row has what nobody has written: no number, say.

    That leads to errors of Python's. The block works with what is in the file, and with values
    that are known to be right.
    """
    try:
        yield
    except (GatheringsError, *TROUBLE):
        raise
    except _UNREADABLE as error:
        what = f"the file is damaged ({type(error).__name__}: {error})"
        raise sqlite3.DatabaseError(what) from error


def is_locked(error: BaseException) -> bool:
    """Return whether somebody else's lock is what's wrong, and nothing has happened."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _LOCKED


def empty_wal(connection: sqlite3.Connection) -> None:
    """Write the write-ahead log back into the file.

    The last connection to a file does so by itself, but a backup may still read.
    """
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def vacuum(connection: sqlite3.Connection) -> None:
    """Write the file anew, without what was deleted; the write-ahead log may still have that."""
    connection.execute("VACUUM")


def clear_wal(connection: sqlite3.Connection) -> None:
    """Empty the write-ahead log, as `empty_wal`; raise an error if somebody reads it just now."""
    [is_busy, *_] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if is_busy:
        error = sqlite3.OperationalError("somebody reads the file")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise error


def _nothing(_: sqlite3.Connection) -> None:
    """Do nothing: to open is enough."""
