"""The lock: one server for each file, as long as the server lives."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from squire_gatherings._stores.sqlite.place import PRIVATE, make_private
from squire_gatherings._values.errors import StoreUnavailable

if sys.platform != "win32":
    import fcntl


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the file at a real path while the block runs; the system ends it with us.

    It is a lock on a file of its own, `…-lock`, which says whose it is: closing the database
    itself would drop the locks that SQLite has on it in this process. Raises `StoreUnavailable`.
    """
    if sys.platform == "win32":
        yield
        return
    lock = Path(f"{path}-lock")
    file = _lock(path, lock)
    try:
        # On a full disk it says nothing, and is a lock all the same.
        with suppress(OSError):
            os.ftruncate(file, 0)
            os.write(file, str(os.getpid()).encode())
        yield
    finally:
        # While it is held: whoever opened it before finds that it isn't the one at the path.
        with suppress(OSError):
            if _is_at(file, lock):
                os.unlink(lock)
        os.close(file)


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
                owner = os.pread(file, 20, 0).decode(errors="replace")
                who = f"process {owner}" if owner.isdecimal() else "another process"
                os.close(file)
                raise StoreUnavailable(f"{path}: in use by {who}") from None
            except OSError as error:
                os.close(file)
                raise StoreUnavailable(f"{lock}: {error.strerror}") from None
            # Its owner has just deleted it.
            os.close(file)


def _is_at(file: int, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(lock, follow_symlinks=False))
    except OSError:
        return False
