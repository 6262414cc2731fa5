"""A VFS of SQLite's, in front of its own: it shows each change of a file before it happens.

It is put in with `ctypes` into the SQLite library that Python's `sqlite3` uses, so it needs neither
a compiler nor another SQLite. SQLite's own functions do the work. A file's table of functions is
exchanged for a copy, in which four of them go through here.

https://www.sqlite.org/c3ref/vfs.html, https://www.sqlite.org/c3ref/io_methods.html
"""

import ctypes
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_int, c_int64, c_void_p
from typing import Any, Protocol

OPEN_CREATE = 0x4
SYNCS_ITS_DIRECTORY = 0x800 | 0x4000 | 0x80000
"""Kinds of files of which SQLite syncs the directory, too, with their first sync.

They are journals of a database and of several, and write-ahead logs.
"""

NAME = b"shown"
_FUNCTIONS = 18
"""The number of functions in `sqlite3_io_methods` of version 3."""
_CLOSE, _WRITE, _TRUNCATE, _SYNC = 0, 2, 3, 4

_Close = CFUNCTYPE(c_int, c_void_p)
_Write = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_Truncate = CFUNCTYPE(c_int, c_void_p, c_int64)
_Sync = CFUNCTYPE(c_int, c_void_p, c_int)


class Watcher(Protocol):
    """Hears, on any thread, what is about to happen to a file, which has an absolute path."""

    def opens(self, path: str, *, makes: bool) -> None:
        """Hear that a file is opened, or made."""

    def writes(self, path: str, at: int, data: bytes) -> None:
        """Hear that bytes are written to a file."""

    def truncates(self, path: str, size: int) -> None:
        """Hear that a file is cut off."""

    def syncs(self, path: str, *, directory: bool) -> bool:
        """Hear that a file, perhaps with its directory, is flushed; return whether to do it."""

    def deletes(self, path: str, *, directory: bool) -> None:
        """Hear that a file is deleted, and perhaps its directory flushed."""


class NoLibrary(Exception):
    """This Python's SQLite library isn't one whose functions can be called."""


class _Methods(Structure):
    _fields_ = [("version", c_int), ("functions", c_void_p * _FUNCTIONS)]


class _Vfs(Structure):
    pass


_Open = CFUNCTYPE(c_int, POINTER(_Vfs), c_void_p, c_void_p, c_int, c_void_p)
_Delete = CFUNCTYPE(c_int, POINTER(_Vfs), c_char_p, c_int)
_Vfs._fields_ = [
    ("version", c_int),
    ("file_size", c_int),
    ("longest_path", c_int),
    ("next", c_void_p),
    ("name", c_char_p),
    ("data", c_void_p),
    ("open", _Open),
    ("delete", _Delete),
    ("others", c_void_p * 14),
]


def _library() -> Any:
    """Find the library that `sqlite3` uses: the one of its own version."""
    import _sqlite3

    # The module's file: the library that it is linked to can be found through it.
    for where in (getattr(_sqlite3, "__file__", None), None):
        try:
            library = ctypes.CDLL(where)
            library.sqlite3_sourceid.restype = c_char_p
            library.sqlite3_vfs_find.restype = POINTER(_Vfs)
            library.sqlite3_vfs_find.argtypes = [c_char_p]
            library.sqlite3_vfs_register.argtypes = [POINTER(_Vfs), c_int]
            ours = sqlite3.connect(":memory:").execute("SELECT sqlite_source_id()").fetchone()[0]
            if library.sqlite3_sourceid().decode() == ours:
                return library
        except (OSError, AttributeError):
            continue
    raise NoLibrary("the SQLite of this Python can't be called: it is part of Python")


class _Shown:
    """The VFS. It is made once, and never freed: a connection may still have a file of it."""

    def __init__(self) -> None:
        self.library = _library()
        self.own = self.library.sqlite3_vfs_find(None)
        self.watcher: Watcher | None = None
        self.vfs = _Vfs()
        ctypes.pointer(self.vfs)[0] = self.own[0]
        self.vfs.name = NAME
        self.vfs.next = None
        self.vfs.open = _Open(self._open)
        self.vfs.delete = _Delete(self._delete)
        self._tables: dict[int, _Methods] = {}
        """Our table for each table of SQLite's."""
        self._originals: dict[int, tuple[Any, ...]] = {}
        """The functions of SQLite that each table of ours stands for."""
        self._files: dict[int, tuple[str, bool, tuple[Any, ...]]] = {}
        """Each open file's path, whether its directory is synced too, and SQLite's functions."""
        self._ours = (
            (_CLOSE, _Close(self._close)),
            (_WRITE, _Write(self._write)),
            (_TRUNCATE, _Truncate(self._truncate)),
            (_SYNC, _Sync(self._sync)),
        )

    def _open(self, _: Any, name: int | None, file: int, flags: int, out: Any) -> int:
        path = None if name is None else os.fsdecode(ctypes.string_at(name))
        makes = path is not None and bool(flags & OPEN_CREATE) and not os.path.exists(path)
        if path is not None and self.watcher is not None:
            self.watcher.opens(path, makes=makes)
        result: int = self.own[0].open(self.own, name, file, flags, out)
        methods = c_void_p.from_address(file).value
        if result == 0 and path is not None and methods is not None:
            table, functions = self._table(methods)
            self._files[file] = path, makes and bool(flags & SYNCS_ITS_DIRECTORY), functions
            c_void_p.from_address(file).value = ctypes.addressof(table)
        return result

    def _table(self, methods: int) -> tuple[_Methods, tuple[Any, ...]]:
        table = self._tables.get(methods)
        if table is None:
            table = self._tables[methods] = _Methods.from_buffer_copy(
                ctypes.string_at(methods, ctypes.sizeof(_Methods))
            )
            self._originals[methods] = tuple(
                kind(table.functions[at]) for at, kind in zip(_AT, _KINDS, strict=True)
            )
            for at, function in self._ours:
                table.functions[at] = ctypes.cast(function, c_void_p).value
        return table, self._originals[methods]

    def _delete(self, _: Any, name: bytes, directory: int) -> int:
        path = os.fsdecode(name)
        if self.watcher is not None and os.path.exists(path):
            self.watcher.deletes(path, directory=bool(directory))
        result: int = self.own[0].delete(self.own, name, directory)
        return result

    def _close(self, file: int) -> int:
        _, _, functions = self._files.pop(file)
        result: int = functions[0](file)
        return result

    def _write(self, file: int, data: int, size: int, at: int) -> int:
        path, _, functions = self._files[file]
        if self.watcher is not None:
            self.watcher.writes(path, at, ctypes.string_at(data, size))
        result: int = functions[1](file, data, size, at)
        return result

    def _truncate(self, file: int, size: int) -> int:
        path, _, functions = self._files[file]
        if self.watcher is not None:
            self.watcher.truncates(path, size)
        result: int = functions[2](file, size)
        return result

    def _sync(self, file: int, how: int) -> int:
        path, directory, functions = self._files[file]
        self._files[file] = path, False, functions
        if self.watcher is None or self.watcher.syncs(path, directory=directory):
            result: int = functions[3](file, how)
            return result
        return 0


_AT = (_CLOSE, _WRITE, _TRUNCATE, _SYNC)
_KINDS = (_Close, _Write, _Truncate, _Sync)

_shown: list[_Shown] = []


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Let connections that are opened in the block show what they do.

    Raises:
        NoLibrary: This Python's SQLite library doesn't allow it.
    """
    if not _shown:
        _shown.append(_Shown())
    [shown] = _shown
    shown.watcher = watcher
    shown.library.sqlite3_vfs_register(ctypes.byref(shown.vfs), 1)
    try:
        yield
    finally:
        shown.library.sqlite3_vfs_register(shown.own, 1)
        shown.library.sqlite3_vfs_unregister(ctypes.byref(shown.vfs))
        shown.watcher = None
