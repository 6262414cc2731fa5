"""The place of the file: one server has it, and the next start would open the same one.

A file that is deleted, moved or replaced can be written to as ever by the process that has it open,
and is gone with its last user. So is its write-ahead log, in which the last commits are. After each
commit both are looked at where the next start looks for them: two `stat`s, about a microsecond
each.

Both can also be overwritten where they stand: see `contents`.
"""

import logging
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from threading import Lock

from attrs import define, field

from squire_gatherings._stores.sqlite.contents import Contents
from squire_gatherings._values.errors import StoreUnavailable, StoreUnusable

if sys.platform != "win32":
    import fcntl

_log = logging.getLogger(__name__)

_Key = tuple[int, int]
"""Device and inode."""

PRIVATE = 0o600


class Misplaced(StoreUnavailable):
    """What the next start would open isn't what is open: nothing more is durable there."""


@define(eq=False)
class Place:
    """Where the database and its write-ahead log stand. Used by any thread.

    Once something was found wrong, each `check` says so, until all connections are closed and
    `look_again` was called: one that is opened beside one that has an older write-ahead log would
    damage the file.
    """

    given: Path
    """The path that the next start is given: absolute, perhaps with symbolic links."""
    path: Path
    """The real path, as it was at the start."""
    _file: _Key
    _pin: int | None
    """Keeps the file's inode from being used again, for a file that takes its place."""
    _wal: _Key | None = None
    """The write-ahead log that the open connections have; with the last of them it ends."""
    _connections: int = 0
    _counting: Lock = field(factory=Lock)
    _trouble: str | None = None
    _is_logged: bool = False
    _contents: Contents = field(init=False)
    _held: int | None = None
    """Our open file, whose lock keeps others away."""
    _given: str = field(init=False)
    wal: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._contents = Contents(self.path)
        # As text: a `Path` would be made into one at each look.
        self._given, self.wal = str(self.given), f"{self.path}-wal"

    @classmethod
    def find(cls, path: Path) -> "Place":
        """Find the file, and make it, empty and for its owner alone, if there's none.

        Raises:
            StoreUnusable: What is there can't be a file.
            StoreUnavailable: It can't be opened or made.
        """
        given = path.absolute()
        try:
            real = given.resolve()
            is_file = real.parent.is_dir() and (real.is_file() or not real.exists())
        except (OSError, RuntimeError) as error:
            why = error.strerror if isinstance(error, OSError) else None
            raise StoreUnusable(f"{path}: {why or error}") from None
        if not is_file:
            raise StoreUnusable(f"{path}: not a file in an existing directory")
        try:
            _make(real)
            pin = _pin(real)
            status = os.stat(real)
        except OSError as error:
            raise StoreUnavailable(f"{path}: {error.strerror}") from None
        return cls(given, real, (status.st_dev, status.st_ino), pin)

    @property
    def held(self) -> int | None:
        """The open file that `hold` has locked."""
        return self._held

    def hold(self, held: int | None = None) -> None:
        """Keep the file from those who come to it by another name: there are hard links.

        Called once nobody else in this process can have it, as `let_go` drops all its locks.
        Raises `StoreUnavailable`.

        Args:
            held: The open file that another process has locked, and shares with us.
        """
        try:
            if held is None:
                held = os.open(self.path, os.O_RDONLY)
            self._held = held
            self._contents.hold(held)
            if not os.path.samestat(os.fstat(held), os.stat(self.path)):
                raise StoreUnavailable(f"{self.path}: another process has another file")
            if sys.platform == "linux":
                # Elsewhere this lock would get in the way of SQLite's own.
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreUnavailable(f"{self.path}: in use by another process") from None
        except OSError as error:
            raise StoreUnavailable(f"{self.path}: {error.strerror}") from None

    def let_go(self) -> None:
        """Undo `hold`; all connections must have been closed."""
        self._contents.let_go()

    def check(self) -> None:
        """Raise `Misplaced` if the next start would open something else."""
        if self._trouble is None:
            self._trouble = self._look()
        if self._trouble is not None:
            if not self._is_logged:
                self._is_logged = True
                told = {"why": self._trouble}
                _log.error("nothing is acknowledged: the file isn't what was opened", extra=told)
            raise Misplaced(self._trouble)

    def opened(self) -> None:
        """A connection has been opened: note which write-ahead log it has."""
        with self._counting:
            self._connections += 1
            if self._wal is None:
                self._wal = _key(self.wal)
                self._contents.begin()
        self.check()
        if self._is_logged:
            self._is_logged = False
            _log.warning("the file is back", extra={"path": str(self.path)})

    def closing(self) -> None:
        """A connection that was opened is about to be closed."""
        with self._counting:
            self._connections -= 1
            if not self._connections:
                self._wal = None
                self._contents.end()

    def give_up(self) -> bool:
        """Whether something was overwritten: then what is open can only do damage.

        The write-ahead log, whose pages fit on nothing any more, is emptied: neither SQLite, when
        the last connection is closed, nor the next start mixes it with what is there.
        """
        if self._contents.look() is None:
            return False
        with suppress(OSError):
            if _key(self.wal) == self._wal:
                os.truncate(self.wal, 0)
        return True

    def look_again(self) -> None:
        """No connection is open any more: the next one may find all in order."""
        self._trouble = None

    def warn_of_readers(self) -> None:
        """Log a warning if the file's permissions, which are its owner's, let others read it."""
        with suppress(OSError):
            mode = stat.S_IMODE(os.stat(self.path).st_mode)
            if not mode & 0o077:
                return
            told = {"path": str(self.path), "mode": f"{mode:03o}"}
            _log.warning("the file may be read by others than its owner", extra=told)

    def leave(self) -> None:
        """Let go of the file; all connections must have been closed."""
        pin, self._pin = self._pin, None
        if pin is not None:
            os.close(pin)

    def _look(self) -> str | None:
        overwritten = self._contents.look()
        if overwritten is not None:
            return f"{self.given.name}: {overwritten} was overwritten by somebody else: restart"
        file = _key(self._given)
        if file != self._file:
            what = "the file is gone" if file is None else "another file is in its place"
            return f"{self.given.name}: {what}: put the right one back, or restart"
        if self._wal is not None:
            wal = _key(self.wal)
            if wal != self._wal:
                how = "deleted" if wal is None else "replaced"
                return f"{self.given.name}: its write-ahead log was {how}; it goes into the file"
        return None


def _key(path: str) -> _Key | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _make(path: Path) -> None:
    try:
        made = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, PRIVATE)
    except FileExistsError:
        return
    # It is new: nobody has a lock on it that closing it would drop.
    try:
        make_private(made)
    finally:
        os.close(made)


def make_private(made: int) -> None:
    """Let a new file be read and written by its owner alone, whatever the umask is.

    It takes too much away, too: SQLite gives its files the permissions of the database, and where
    that has none, others may read them.
    """
    if sys.platform != "win32":
        os.fchmod(made, PRIVATE)


def _pin(path: Path) -> int | None:
    # Not opened otherwise: closing a file drops all locks that this process has on it.
    how = getattr(os, "O_PATH", None)
    return None if how is None else os.open(path, how)
