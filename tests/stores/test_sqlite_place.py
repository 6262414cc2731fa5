"""Where the file is: acknowledged appends are in the file that the next start opens."""

import logging
import os
import shutil
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from attrs import frozen

from squire_gatherings._hall.store import Outcome
from squire_gatherings._stores import open_sqlite_store
from squire_gatherings._stores.sqlite.backup import back_up
from squire_gatherings._stores.sqlite.writer import Writer
from squire_gatherings._values.errors import GatheringsError, StoreUnavailable
from squire_gatherings._values.log import Append
from tests.stores.appends import an_append, beside, crashed_copy
from tests.support import logged


@frozen
class Files:
    """A store's file in a directory of its own, to which a symbolic link leads."""

    folder: Path

    @property
    def real(self) -> Path:
        return self.folder / "data" / "rooms.sqlite3"

    @property
    def link(self) -> Path:
        return self.folder / "link.sqlite3"

    @property
    def aside(self) -> Path:
        return self.folder / "aside"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    files = Files(tmp_path)
    files.real.parent.mkdir()
    files.link.symlink_to(files.real)
    return files


def moved(files: Files) -> Iterator[None]:
    files.real.rename(files.aside)
    yield
    files.aside.rename(files.real)


def replaced(files: Files) -> Iterator[None]:
    other = files.folder / "other"
    with sqlite3.connect(files.real) as source, sqlite3.connect(other) as target:
        source.backup(target)
    source.close()
    target.close()
    files.real.rename(files.aside)
    other.rename(files.real)
    yield
    files.aside.rename(files.real)


def directory_moved(files: Files) -> Iterator[None]:
    files.real.parent.rename(files.aside)
    yield
    files.aside.rename(files.real.parent)


def link_retargeted(files: Files) -> Iterator[None]:
    files.link.unlink()
    files.link.symlink_to(files.folder / "elsewhere.sqlite3")
    yield
    files.link.unlink()
    files.link.symlink_to(files.real)


Misplace = Callable[[Files], Iterator[None]]


@pytest.fixture(params=[moved, replaced, directory_moved, link_retargeted])
def misplace(request: pytest.FixtureRequest) -> Misplace:
    found: Misplace = request.param
    return found


async def test_what_goes_into_a_misplaced_file_is_not_acknowledged(
    files: Files, misplace: Misplace, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_sqlite_store(files.link) as store:
        await store.append(an_append("a", 1))
        await store.load("a", recent_syncs=9)
        misplacing = misplace(files)
        with caplog.at_level(logging.INFO):
            next(misplacing)
            for _ in range(3):
                with pytest.raises(StoreUnavailable, match=r"link.sqlite3: (the|another) file"):
                    await store.append(an_append("a", 2))
                with pytest.raises(StoreUnavailable, match=r"link.sqlite3: (the|another) file"):
                    await store.load("a", recent_syncs=9)
            assert [record.levelname for record in caplog.records] == ["ERROR"]
            assert "put the right one back, or restart" in logged(caplog)
            next(misplacing, None)
            await store.append(an_append("a", 2))
        assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
        assert (await store.load("a", recent_syncs=9)).seq == 2
    async with open_sqlite_store(files.link) as store:
        assert (await store.load("a", recent_syncs=9)).seq == 2


async def test_a_file_that_is_misplaced_during_a_commit_is_noticed(
    files: Files, misplace: Misplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = Writer.append_all
    misplacing = misplace(files)
    is_due = False

    def misplace_first(
        writer: Writer, database: sqlite3.Connection, appends: Sequence[Append]
    ) -> list[Outcome]:
        nonlocal is_due
        if is_due:
            is_due = False
            next(misplacing)
        return commit(writer, database, appends)

    monkeypatch.setattr(Writer, "append_all", misplace_first)
    async with open_sqlite_store(files.link) as store:
        await store.append(an_append("a", 1))
        is_due = True
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=r"link.sqlite3: (the|another) file"):
                await store.append(an_append("a", 2))
        next(misplacing, None)
        # The commit was in that file: the same append isn't applied twice.
        await store.append(an_append("a", 2))
        await store.append(an_append("a", 3))
    async with open_sqlite_store(files.real) as store:
        assert (await store.load("a", recent_syncs=9)).seq == 3


@pytest.mark.parametrize("suffixes", [("",), ("", "-wal", "-shm")])
async def test_a_deleted_file_is_never_an_empty_log(files: Files, suffixes: Sequence[str]) -> None:
    async with open_sqlite_store(files.real) as store:
        await store.append(an_append("a", 1))
        for suffix in suffixes:
            beside(files.real, suffix).unlink()
        for make in (False, True):
            if make:
                # The system might give the new file the old file's inode number.
                files.real.touch()
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match="file"):
                    await store.append(an_append("a", 2))
                with pytest.raises(StoreUnavailable, match="file"):
                    await store.load("a", recent_syncs=9)
        assert files.real.stat().st_size == 0


@pytest.mark.parametrize("how", ["deleted", "replaced"])
@pytest.mark.parametrize("with_reader", [True, False])
async def test_a_write_ahead_log_that_is_gone_goes_into_the_file(
    files: Files, how: str, with_reader: bool, caplog: pytest.LogCaptureFixture
) -> None:
    wal = beside(files.real, "-wal")
    async with open_sqlite_store(files.real) as store:
        for n in range(1, 20):
            await store.append(an_append("a", n, mark="x" * 5000))
        if with_reader:
            await store.load("a", recent_syncs=9)
        if how == "replaced":
            other = files.folder / "other-wal"
            other.write_bytes(wal.read_bytes()[:-8192])
            other.rename(wal)
        else:
            wal.unlink()
        with pytest.raises(StoreUnavailable, match=f"write-ahead log was {how}"):
            await store.append(an_append("a", 20))
        await store.append(an_append("a", 20))
        await store.append(an_append("a", 21))
        assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
        assert (await store.load("a", recent_syncs=9)).seq == 21
        async with open_sqlite_store(crashed_copy(files.real)) as crashed:
            assert (await crashed.load("a", recent_syncs=9)).seq == 21
            with sqlite3.connect(crashed._place.path) as database:
                assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            database.close()


async def test_a_moved_file_takes_its_write_ahead_log_along(files: Files) -> None:
    async with open_sqlite_store(files.real) as store:
        await store.append(an_append("a", 1))
        files.real.rename(files.aside)
        with pytest.raises(StoreUnavailable, match="gone"):
            await store.append(an_append("a", 2))
        # A file that is put in its place doesn't find another file's write-ahead log.
        assert beside(files.real, "-wal").stat().st_size == 0
        async with open_sqlite_store(crashed_copy(files.aside)) as other:
            assert (await other.load("a", recent_syncs=9)).seq >= 1


async def test_a_moved_file_is_not_opened_by_a_second_server(files: Files) -> None:
    async with open_sqlite_store(files.real) as store:
        await store.append(an_append("a", 1))
        files.real.rename(files.aside)
        with pytest.raises(StoreUnavailable, match="in use"):
            async with open_sqlite_store(files.aside):
                pytest.fail("two servers on one file")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere flock and fcntl may be one")
@pytest.mark.parametrize("how", ["a hard link", "the lock is deleted"])
async def test_one_store_for_each_file_whatever_its_name(files: Files, how: str) -> None:
    other = files.aside if how == "a hard link" else files.real
    async with open_sqlite_store(files.real) as store:
        if how == "a hard link":
            files.aside.hardlink_to(files.real)
        else:
            beside(files.real, "-lock").unlink()
        with pytest.raises(StoreUnavailable, match="in use by another process"):
            async with open_sqlite_store(other):
                pytest.fail("two servers on one file")
        await store.append(an_append("a", 1))
    async with open_sqlite_store(other) as store:
        assert (await store.load("a", recent_syncs=9)).seq == 1


def _overwrite(target: Path, content: bytes) -> None:
    """Overwrite as `cp` does: the file keeps its inode."""
    with target.open("r+b") as file:
        file.truncate()
        file.write(content)


@pytest.mark.parametrize("how", ["a backup", "an older copy", "nothing"])
@pytest.mark.parametrize("noticed", ["at a commit", "at a read", "at the end"])
async def test_a_file_that_is_overwritten_is_not_mixed_with_what_it_was(
    files: Files, how: str, noticed: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_sqlite_store(files.real) as store:
        for n in range(1, 30):
            await store.append(an_append("a", n, mark="x" * 5000))
    old = files.real.read_bytes()
    if how == "a backup":
        back_up(files.real, files.aside, lambda *_: None)
        old = files.aside.read_bytes()
    elif how == "nothing":
        old = b""
    async with open_sqlite_store(files.real, journal_bytes=20_000) as store:
        for n in range(30, 60):
            await store.append(an_append("a", n, mark="x" * 5000))
        await store.load("a", recent_syncs=9)
        with sqlite3.connect(files.real) as database:
            database.execute("PRAGMA wal_checkpoint(PASSIVE)")
        database.close()
        await store.append(an_append("a", 60))
        _overwrite(files.real, old)
        for _ in range(3):
            if noticed == "at a commit":
                with pytest.raises(StoreUnavailable, match="overwritten by somebody else: restart"):
                    await store.append(an_append("a", 61))
            if noticed == "at a read":
                with pytest.raises(StoreUnavailable, match="overwritten by somebody else: restart"):
                    await store.load("a", recent_syncs=9)
    if noticed != "at the end":
        assert [record.levelname for record in caplog.records] == ["ERROR"]
    async with open_sqlite_store(files.real) as store:
        assert (await store.load("a", recent_syncs=9)).seq == (29 if old else 0)
        await store.append(an_append("a", 30 if old else 1))
    with sqlite3.connect(files.real) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()


@pytest.mark.parametrize("how", ["another store's", "a newer copy"])
@pytest.mark.parametrize("noticed", ["at a commit", "at a read", "at the end"])
async def test_another_file_is_noticed_though_it_was_changed_more_often(
    files: Files, how: str, noticed: str
) -> None:
    """The file of a store that was stopped, with any change counter in its header."""
    if how != "another store's":
        async with open_sqlite_store(files.real) as store:
            await store.append(an_append("a", 1))
        shutil.copy(files.real, files.aside)
    async with open_sqlite_store(files.aside) as store:
        for n in range(1, 60):
            await store.append(an_append("b", n, mark="x" * 20_000))
    other = files.aside.read_bytes()
    async with open_sqlite_store(files.real, journal_bytes=20_000) as store:
        for n in range(1, 5):
            await store.append(an_append("a", n, mark="" if n == 1 else "x" * 20_000))
        await store.load("a", recent_syncs=9)
        with closing(sqlite3.connect(files.real)) as database:
            database.execute("PRAGMA wal_checkpoint(PASSIVE)")
            before = files.real.read_bytes()[24:28]
        await store.append(an_append("c", 1))
        assert before <= other[24:28]
        _overwrite(files.real, other)
        for n in range(2, 5):
            if noticed == "at a commit":
                with pytest.raises(StoreUnavailable, match="overwritten by somebody else: restart"):
                    await store.append(an_append("c", n))
            if noticed == "at a read":
                with pytest.raises(StoreUnavailable, match="overwritten by somebody else: restart"):
                    await store.load("a", recent_syncs=9)
    async with open_sqlite_store(files.real) as store:
        assert (await store.load("b", recent_syncs=9)).seq == 59
        assert (await store.load("c", recent_syncs=9)).seq == 0
    with closing(sqlite3.connect(files.real)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_a_file_that_is_only_touched_or_copied_over_itself_is_no_trouble(
    files: Files,
) -> None:
    async with open_sqlite_store(files.real, journal_bytes=2000) as store:
        for n in range(1, 20):
            await store.append(an_append("a", n))
            if n % 2:
                os.utime(files.real, ns=(n, n))
            else:
                _overwrite(files.real, files.real.read_bytes())
        assert (await store.load("a", recent_syncs=9)).seq == 19


async def test_its_own_checkpoints_are_no_trouble(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("squire_gatherings._stores.sqlite.connection.CHECKPOINT_PAGES", 5)
    async with open_sqlite_store(files.real, journal_bytes=2000) as store:
        sizes = set()
        for n in range(1, 100):
            await store.append(an_append("a", n, mark="x" * 3000))
            sizes.add(files.real.stat().st_size)
            if not n % 7:
                await store.load("a", recent_syncs=9)
        assert len(sizes) > 10
        assert (await store.load("a", recent_syncs=9)).seq == 99


async def test_nothing_is_acknowledged_once_the_write_ahead_log_is_emptied(
    files: Files,
) -> None:
    async with open_sqlite_store(files.real) as store:
        await store.append(an_append("a", 1))
    async with open_sqlite_store(files.real) as store:
        for n in range(2, 20):
            await store.append(an_append("a", n))
        _overwrite(beside(files.real, "-wal"), b"")
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="write-ahead log was overwritten"):
                await store.append(an_append("a", 20))
    async with open_sqlite_store(files.real) as store:
        assert (await store.load("a", recent_syncs=9)).seq == 1


async def test_another_program_may_empty_the_write_ahead_log_into_the_file(
    files: Files,
) -> None:
    async with open_sqlite_store(files.real) as store:
        for n in range(1, 9):
            await store.append(an_append("a", n))
            with sqlite3.connect(files.real) as database:
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                database.execute("VACUUM")
            database.close()
        assert (await store.load("a", recent_syncs=9)).seq == 8


async def test_one_store_for_each_file(files: Files) -> None:
    async with open_sqlite_store(files.real) as store:
        for path in (files.real, files.link):
            with pytest.raises(StoreUnavailable, match=f"in use by process {os.getpid()}$") as told:
                async with open_sqlite_store(path):
                    pass
            assert "\n" not in str(told.value)
        # Closing the file after looking at it drops none of our locks.
        await store.append(an_append("a", 1))
    assert sorted(os.listdir(files.real.parent)) == [files.real.name]
    async with open_sqlite_store(files.link) as store:
        assert (await store.load("a", recent_syncs=9)).seq == 1


async def test_a_lock_that_a_crash_left_is_free(files: Files) -> None:
    lock = beside(files.real, "-lock")
    lock.write_text("1")
    async with open_sqlite_store(files.real):
        assert lock.read_text() == f"{os.getpid()}\n"
    assert not lock.exists()


async def test_a_lock_that_is_a_pipe_is_an_error_of_one_line(files: Files) -> None:
    os.mkfifo(beside(files.real, "-lock"))
    with pytest.raises(StoreUnavailable, match=r"-lock: not a file$"):
        async with open_sqlite_store(files.real):
            pytest.fail("no lock")


async def test_a_lock_that_cannot_be_made_is_an_error_of_one_line(files: Files) -> None:
    beside(files.real, "-lock").symlink_to(files.folder / "trap")
    with pytest.raises(StoreUnavailable, match=r"rooms.sqlite3-lock: .*symbolic links$"):
        async with open_sqlite_store(files.real):
            pass
    assert not (files.folder / "trap").exists()


@pytest.mark.parametrize("umask", [0, 0o077, 0o277, 0o777])
async def test_the_files_are_their_owners_alone(
    files: Files, umask: int, caplog: pytest.LogCaptureFixture
) -> None:
    before = os.umask(umask)
    try:
        async with open_sqlite_store(files.link) as store:
            await store.append(an_append("a", 1))
            modes = {
                one.name: stat.S_IMODE(one.stat().st_mode) for one in files.real.parent.iterdir()
            }
    finally:
        os.umask(before)
    suffixes = ("", "-wal", "-shm", "-lock")
    assert modes == {f"{files.real.name}{suffix}": 0o600 for suffix in suffixes}
    assert not caplog.records
    files.real.chmod(0o644)
    async with open_sqlite_store(files.real):
        pass
    assert stat.S_IMODE(files.real.stat().st_mode) == 0o644
    [record] = caplog.records
    assert record.getMessage() == "the file may be read by others than its owner"
    assert f"path={files.real} mode=644" in logged(caplog)


async def test_a_link_is_followed_and_the_real_path_shown(files: Files) -> None:
    async with open_sqlite_store(files.link) as store:
        assert store.name == f"sqlite:///{files.real}"
    assert files.link.is_symlink()
    assert files.real.exists()


async def test_a_link_in_a_circle_is_an_error_of_one_line(files: Files) -> None:
    files.real.symlink_to(files.link)
    with pytest.raises(GatheringsError, match=r"link\.sqlite3: ") as told:
        async with open_sqlite_store(files.link):
            pass
    assert "\n" not in str(told.value)
