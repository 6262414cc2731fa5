"""The lock of the file: which process has it. It can be handed on while it is held.

It is a lock on a file of its own, `…-lock`, which says which process has it: to close the database
itself would drop the locks that SQLite has on it in this process. The lock belongs to the open
file, and so to all processes that share that: `SCM_RIGHTS` hands it on without a gap.
"""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import define

from squire_gatherings._stores.sqlite.place import PRIVATE, make_private
from squire_gatherings._values.errors import StoreUnavailable

if sys.platform != "win32":
    import fcntl

MAX_STATUS = 200
"""How many bytes the lock's file may have: the process's number, and what it says of itself."""


@define(eq=False)
class FileLock:
    """The lock of one database."""

    file: int | None
    """The open file; None where the system has no such locks."""
    path: Path
    is_ours: bool = True
    """Whether it ends with us. If not, another process has it, too."""

    def say(self, status: str = "") -> None:
        """Say in the file which process has it, and what else is to be known of that."""
        if self.file is not None:
            line = f"{os.getpid()} {status}".strip().encode()[: MAX_STATUS - 1] + b"\n"
            # On a full disk it says nothing, and is a lock all the same.
            with suppress(OSError):
                # In this order: whoever reads meanwhile finds a line, and perhaps more after it.
                os.pwrite(self.file, line, 0)
                os.ftruncate(self.file, len(line))

    def take(self) -> None:
        """Note that it's ours alone from now on, which was another process's."""
        self.is_ours = True
        self.say()

    def end(self) -> None:
        """Let go of it."""
        if self.file is None:
            return
        if self.is_ours:
            # While it is held: who opened it before finds that it isn't the one at the path.
            with suppress(OSError):
                if _is_at(self.file, self.path):
                    os.unlink(self.path)
        os.close(self.file)


def lock_path(path: Path) -> Path:
    """Return the path of the lock of a database at a real path."""
    return Path(f"{path}-lock")


def owner_of(path: Path) -> tuple[int, str] | None:
    """Return which process has the lock of a database, and what it says; None if none has it."""
    try:
        file = os.open(lock_path(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _read(file)
    finally:
        os.close(file)
    return None


def _read(file: int) -> tuple[int, str] | None:
    line, _, _ = os.pread(file, MAX_STATUS, 0).decode(errors="replace").partition("\n")
    number, _, status = line.partition(" ")
    return (int(number), status) if number.isascii() and number.isdecimal() else None


@contextmanager
def locked(path: Path, shared: int | None = None) -> Iterator[FileLock]:
    """Hold the lock of the file at a real path while the block runs, or this process.

    Args:
        path: The database.
        shared: The open file of a lock that another process has, and shares with us. It's
            that one's until `FileLock.take`.

    Raises:
        StoreUnavailable: Another store, or another process, has the lock.
    """
    if sys.platform == "win32":
        yield FileLock(None, path)
        return
    place = lock_path(path)
    if shared is None:
        lock = FileLock(_lock(path, place), place)
        lock.say()
    else:
        lock = FileLock(shared, place, is_ours=False)
    try:
        if not _is_at(lock.file, place):
            raise StoreUnavailable(f"{path}: another process has another file")
        yield lock
    finally:
        lock.end()


if sys.platform != "win32":

    def _lock(path: Path, lock: Path) -> int:
        while True:
            try:
                # Without waiting, if it's a pipe.
                how = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK
                try:
                    file = os.open(lock, how | os.O_EXCL, PRIVATE)
                    make_private(file)
                except FileExistsError:
                    file = os.open(lock, how, PRIVATE)
            except OSError as error:
                raise StoreUnavailable(f"{lock}: {error.strerror}") from None
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    os.close(file)
                    raise StoreUnavailable(f"{lock}: not a file")
                if _is_at(file, lock):
                    return file
            except BlockingIOError:
                owner = _read(file)
                who = "another process" if owner is None else f"process {owner[0]}"
                os.close(file)
                raise StoreUnavailable(f"{path}: in use by {who}") from None
            except OSError as error:
                os.close(file)
                raise StoreUnavailable(f"{lock}: {error.strerror}") from None
            # Its owner has just deleted it.
            os.close(file)


def _is_at(file: int | None, lock: Path) -> bool:
    try:
        if file is None:
            return False
        return os.path.samestat(os.fstat(file), os.stat(lock, follow_symlinks=False))
    except OSError:
        return False
