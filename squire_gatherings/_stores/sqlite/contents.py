"""The contents of the file: whether it was overwritten where it stands.

After `cp backup rooms.sqlite3` or `: > rooms.sqlite3-wal` the same file is in the same place. The
first bytes of a write-ahead log tell whether it is one. (After a loss of power there may be one
that has its size and not its content: SQLite takes it for an empty one.) The header of the database
is looked at once the time of its last change is another. Only a checkpoint writes to a database,
and it leaves marks in the index of the write-ahead log (`-shm`; https://sqlite.org/walformat.html
documents it). Where there was no checkpoint, the header must be the same; where there was one, the
header's count of changes mustn't be lower.
"""

import os
from contextlib import suppress
from pathlib import Path
from threading import Lock

from attrs import define, field

_HEADER_BYTES = 100
_MAGIC = b"SQLite format 3\0"
_WAL_MODE = b"\2\2"
"""In a header from byte 18 on. A backup, until it's served, has another."""
_WAL_MAGICS = (b"", b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")


@define
class _Seen:
    """The file as it was looked at."""

    changed: tuple[int, int]
    """When it was changed last, in nanoseconds, and its size in bytes."""
    header: bytes
    marks: tuple[bytes, bytes, bytes]
    """Which write-ahead log there was, how much of it was copied, and how much was begun."""

    @property
    def is_being_written(self) -> bool:
        """Whether a checkpoint was under way, or had failed."""
        return self.marks[1] != self.marks[2]

    @property
    def changes(self) -> int:
        """SQLite's count of them."""
        return int.from_bytes(self.header[24:28], "big")


@define(eq=False)
class Contents:
    """The file, its write-ahead log and the index of that, open to be looked at. Any thread."""

    path: Path
    overwritten: str | None = None
    """What was overwritten: there's nothing that could be put back."""
    _is_open: bool = False
    """Whether any connection is: without one, other programs may well write to the file."""
    _file: int | None = None
    _wal: int | None = None
    _wal_at_first: bytes = b""
    """How the write-ahead log began when the first connection had been opened."""
    _index: int | None = None
    _seen: _Seen | None = None
    _lock: Lock = field(factory=Lock)

    def hold(self, file: int) -> None:
        """Take the open file, which is ours until `let_go`."""
        self._file = file

    def begin(self) -> None:
        """The first connection has been opened: there's a write-ahead log, and an index."""
        with self._lock:
            self._is_open = True
            if self._wal is None:
                with suppress(OSError):
                    self._wal = os.open(f"{self.path}-wal", os.O_RDONLY)
                    self._wal_at_first = os.pread(self._wal, 4, 0)
            with suppress(OSError):
                self._open_index(f"{self.path}-shm")

    def end(self) -> None:
        """The last connection is about to be closed."""
        with self._lock:
            wal, self._wal, self._seen, self._is_open = self._wal, None, None, False
            if wal is not None:
                os.close(wal)

    def let_go(self) -> None:
        """Close all; no connection may be open, as this drops all locks that it has."""
        for file in (self._file, self._index):
            if file is not None:
                os.close(file)
        self._file = self._index = None

    def look(self) -> str | None:
        """Return what was overwritten, if anything was."""
        if self.overwritten is None:
            with self._lock:
                if self._is_open and self._file is not None:
                    self._look_at(self._file)
                if self._wal is not None:
                    self._look_at_wal(os.pread(self._wal, 4, 0))
        return self.overwritten

    def _look_at_wal(self, begins: bytes) -> None:
        if begins in _WAL_MAGICS:
            self._wal_at_first = begins
        elif begins != self._wal_at_first:
            self.overwritten = "its write-ahead log"

    def _look_at(self, file: int) -> None:
        # The marks first: a checkpoint makes one before it writes to the file, and one afterwards.
        index = b"" if self._index is None else os.pread(self._index, 132, 0)
        marks = index[32:40], index[96:100], index[128:132]
        status = os.fstat(file)
        changed = status.st_mtime_ns, status.st_size
        before = self._seen
        if before is not None and changed == before.changed:
            before.marks = marks
            return
        header = os.pread(file, _HEADER_BYTES, 0)
        self._seen = seen = _Seen(changed, header, marks)
        if not header.startswith(_MAGIC):
            self.overwritten = "the file"
        elif before is None:
            # Whatever mode it says: after a loss of power in the middle of a change to WAL mode,
            # SQLite goes by the write-ahead log that it finds.
            return
        elif header[18:20] != _WAL_MODE and header[18:20] != before.header[18:20]:
            self.overwritten = "the file"
        elif before.is_being_written or marks != before.marks or not index:
            # A checkpoint wrote to it, which may have been another program's.
            if seen.changes < before.changes:
                self.overwritten = "the file"
        elif header != before.header or changed[1] != before.changed[1]:
            self.overwritten = "the file"

    def _open_index(self, path: str) -> None:
        # The one that is open isn't opened again: to close it would drop SQLite's locks on it.
        if self._index is not None and os.path.samestat(os.fstat(self._index), os.stat(path)):
            return
        before, self._index = self._index, os.open(path, os.O_RDONLY)
        if before is not None:
            os.close(before)
