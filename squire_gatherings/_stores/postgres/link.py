"""The link: one connection to the database, used on worker threads, and made anew after errors.

psycopg's own async connection is asyncio's, so a thread waits for the database. `Patience` sees to
it that none waits for ever.
"""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Lock
from time import monotonic
from typing import Any, TypeVar

import psycopg
import trio
from attrs import define, field, frozen

from squire_gatherings._stores.postgres.address import Address
from squire_gatherings._stores.postgres.migration import migrate
from squire_gatherings._stores.postgres.patience import Patience
from squire_gatherings._values.errors import StoreUnavailable, StoreUnusable

T = TypeVar("T")
Connection = psycopg.Connection[Any]
Call = Callable[[Connection], T]
"""What is done with the connection, on a worker thread."""

CALL_TIMEOUT = 10.0
"""How many seconds a call may hear nothing from the database before its connection is cut."""
FIRST_PAUSE = 0.05
"""How many seconds pass until a connection is tried again; twice as many after each failure."""
LONGEST_PAUSE = 2.0


@frozen
class Server:
    """Which database a connection has led to."""

    identifier: int | None
    """PostgreSQL's own number for what was once made by `initdb`, and all copies of it."""
    timeline: str | None
    """Another one after each time that a standby took over."""
    flushes: bool
    """Whether it writes to its disk at once."""


@define(eq=False)
class Link:
    """A connection, which one worker thread uses at a time. Closed after each error.

    What it can't do raises `StoreUnavailable`, with nothing that is secret.
    """

    address: Address
    patience: Patience
    may_begin: bool = False
    """Whether `open` makes the schema where there is none. Reconnecting never does: a log that
    vanished mustn't pass for an empty one."""
    connected: Callable[[Connection, Server], None] | None = None
    """Is called with each new connection, on the worker thread."""
    timeout: float | None = None
    """How many seconds a call may hear nothing, unless it says so; None for what all have."""
    server: Server | None = field(default=None, init=False)
    """Which database the last connection has led to."""
    _limiter: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(1), init=False)
    _connection: Connection | None = field(default=None, init=False)
    _cutting: Lock = field(factory=Lock, init=False)
    waits_until: float | None = field(default=None, init=False)
    """As `Waiting` says."""
    _may_wait: float = field(default=0.0, init=False)
    """How many seconds what is called now may hear nothing."""
    _is_cut: bool = field(default=False, init=False)
    """Whether it took too long."""
    _closed: bool = field(default=False, init=False)
    _pause: float = field(default=0.0, init=False)
    _again_at: float = field(default=0.0, init=False)
    _why: str = field(default="", init=False)

    def __attrs_post_init__(self) -> None:
        self.patience.watch(self)

    @property
    def is_busy(self) -> bool:
        """Whether something is being called."""
        return self._limiter.borrowed_tokens > 0

    async def open(self) -> None:
        """Connect now.

        Raises:
            StoreUnusable: It can't be a store's database.
            StoreUnavailable: It can't be reached now.

        Cancellation: as for `call`.
        """
        try:
            await self.call(_nothing)
        except StoreUnavailable as error:
            if isinstance(error.__cause__, StoreUnusable):
                raise StoreUnusable(f"{self.address.name}: {error.__cause__}") from None
            raise StoreUnavailable(f"{self.address.name}: {error}") from None
        self.may_begin = False

    async def call(
        self, function: Call[T], timeout: float | None = None, *, repeats: bool = True
    ) -> T:
        """Run `function` on a worker thread, with the connection, and return what it returns.

        Args:
            function: What is run. It calls `heard` if it takes long, and hears from the database.
            timeout: How many seconds it may hear nothing.
            repeats: Whether it's called again, once, where the connection has ended: the server may
                have been restarted, or have ended what was idle for long.

        Raises:
            StoreUnavailable: The database raised an error, or isn't there.

        Cancellation: before the call it does nothing; what runs on the thread is waited for, so
        that no connection is ever used by two.
        """
        self.patience.begun()
        may_wait = timeout or self.timeout or self.patience.seconds
        run = partial(self._run, function, may_wait, repeats)
        return await trio.to_thread.run_sync(run, limiter=self._limiter)

    async def close(self, *last: Call[object]) -> None:
        """Close for good, after these last calls, each of which may fail.

        Cancellation: before it began, it does nothing; later, it is waited for.
        """
        self.patience.begun()
        await trio.to_thread.run_sync(self._finish, last, limiter=self._limiter)

    def heard(self) -> None:
        """Note, on the worker thread, that the database has answered."""
        self.waits_until = monotonic() + self._may_wait

    def cut(self) -> None:
        """Let what waits for the database fail now. From any thread."""
        with self._cutting:
            connection = self._connection
            if connection is None or connection.closed:
                return
            with suppress(OSError, psycopg.Error):
                # The thread that waits finds that the connection has ended.
                self._is_cut = True
                copy = socket.socket(fileno=os.dup(connection.fileno()))
                with copy:
                    copy.shutdown(socket.SHUT_RDWR)

    def _run(self, function: Call[T], may_wait: float, repeats: bool) -> T:
        self._may_wait = may_wait
        self.heard()
        try:
            if self._closed:
                raise StoreUnavailable("the store is closed")
            try:
                if self._connection is None or not repeats:
                    return function(self._connection or self._connect())
                return self._insist(function, self._connection)
            except StoreUnusable as error:
                self._close()
                raise StoreUnavailable(str(error)) from error
            except psycopg.Error as error:
                self._close()
                raise StoreUnavailable(told(error)) from error
            except UnicodeDecodeError as error:
                # No program of ours has written that.
                raise StoreUnavailable(f"the database is damaged: {error}") from error
        finally:
            self.waits_until = None

    def _insist(self, function: Call[T], connection: Connection) -> T:
        try:
            return function(connection)
        except psycopg.OperationalError:
            if not connection.broken or self._is_cut:
                raise
        self._close()
        self.heard()
        return function(self._connect())

    def _connect(self) -> Connection:
        if monotonic() < self._again_at:
            raise StoreUnavailable(self._why)
        try:
            connection = psycopg.connect(self.address.conninfo, autocommit=True)
            with self._cutting:
                self._connection, self._is_cut = connection, False
            try:
                self._begin(connection)
            except BaseException:
                self._close()
                raise
        except (psycopg.Error, StoreUnavailable, StoreUnusable) as error:
            self._pause = min(max(self._pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
            self._again_at = monotonic() + self._pause
            self._why = told(error) if isinstance(error, psycopg.Error) else str(error)
            raise
        self._pause = 0.0
        return connection

    def _begin(self, connection: Connection) -> None:
        self.heard()
        server, backend = look_at(connection)
        if backend != connection.info.backend_pid:
            # A pooler is in between: the next statement may go to another server's process.
            connection.prepare_threshold = None
        migrate(connection, self.address.schema, may_begin=self.may_begin)
        self.heard()
        self.server = server
        if self.connected is not None:
            self.connected(connection, server)

    def _finish(self, last: tuple[Call[object], ...]) -> None:
        self._closed = True
        self._may_wait = self.patience.seconds
        self.heard()
        try:
            if self._connection is not None:
                for function in last:
                    with suppress(psycopg.Error, StoreUnavailable):
                        function(self._connection)
        finally:
            self._close()
            self.waits_until = None

    def _close(self) -> None:
        with self._cutting:
            connection, self._connection = self._connection, None
            if connection is not None:
                with suppress(psycopg.Error):
                    connection.close()


def look_at(connection: Connection) -> tuple[Server, int]:
    """Look at what a connection has led to; return that, and the number of the server's process.

    Raises:
        StoreUnavailable: It's a standby, which can only be read.
        StoreUnusable: What it acknowledges may be lost, or it can't have our texts.
        psycopg.Error: It can't be asked.
    """
    row = connection.execute(
        "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool,"
        " current_setting('synchronous_commit'), current_setting('fsync'),"
        " current_setting('server_encoding'), pg_backend_pid()"
    ).fetchone()
    assert row is not None
    reads_only, synchronous, fsync, encoding, backend = row
    if reads_only:
        raise StoreUnavailable("the database can only be read: it's a standby, or set to be so")
    if synchronous == "off":
        raise StoreUnusable(
            "synchronous_commit is off for this user: what was acknowledged might be lost"
            " (ALTER ROLE ... SET synchronous_commit = on)"
        )
    if encoding != "UTF8":
        raise StoreUnusable(f"the database's encoding is {encoding}, not UTF8")
    return Server(*_identity(connection), fsync == "on"), backend


def _identity(connection: Connection) -> tuple[int | None, str | None]:
    try:
        row = connection.execute(
            "SELECT system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8)"
            " FROM pg_control_system()"
        ).fetchone()
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported):
        return None, None
    except psycopg.errors.UndefinedFunction:
        # Not PostgreSQL itself, but something that is compatible.
        return None, None
    return row or (None, None)


def told(error: psycopg.Error) -> str:
    """Return what is said of an error, in one line."""
    text = error.diag.message_primary or str(error) or type(error).__name__
    return " ".join(text.split())[:500]


def _nothing(_: Connection) -> None:
    """Do nothing: to open is enough."""
