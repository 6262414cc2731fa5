"""A store's file, opened only to be read: also one that a server has open, or that is read-only."""

import sqlite3
from pathlib import Path

BUSY_TIMEOUT = 10.0
"""How many seconds we wait for somebody else's lock."""

_UNWRITABLE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a file to read it; neither it nor its write-ahead log is changed, also at the end.

    Raises:
        sqlite3.Error: It can't be read now.
    """
    connection = _connect(path, "mode=ro")
    try:
        connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF not in _UNWRITABLE or _is_written(path):
            raise
        # SQLite can't make the files that readers share. Nobody writes to a file without a
        # write-ahead log.
        return _connect(path, "mode=ro&immutable=1")
    return connection


def open_for_a_moment(path: Path) -> sqlite3.Connection:
    """As `open_to_read`, for a short look: where nobody has the file, no other is made beside it.

    A server that begins to write at that very moment may make the look fail.
    """
    return open_to_read(path) if _is_written(path) else _connect(path, "mode=ro&immutable=1")


def _is_written(path: Path) -> bool:
    """Whether there is a write-ahead log."""
    wal = path.with_name(f"{path.name}-wal")
    return wal.exists() and wal.stat().st_size > 0


def _connect(path: Path, how: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{how}",
        uri=True,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,
    )
    # Text that isn't UTF-8 any more is read as what no store would take.
    connection.text_factory = lambda text: text.decode(errors="surrogateescape")
    return connection
