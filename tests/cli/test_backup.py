"""`backup`: a copy of one moment, made while a server is busy, that can be served."""

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio
from websockets.sync.client import connect

from squire_gatherings._stores import open_sqlite_store
from squire_gatherings._stores.sqlite.backup import back_up
from squire_gatherings._values.errors import StoreUnavailable, StoreUnusable
from tests.cli.process import PATIENCE, run_here
from tests.cli.test_kill import Submitter
from tests.forked import run, serving
from tests.stores.appends import an_append


def fill(path: Path, count: int = 300, size: int = 500) -> None:
    """Append ops to a store; each takes a little more than `size` bytes."""

    async def fill() -> None:
        async with open_sqlite_store(path) as store:
            await store.append(an_append("room", 1, count, mark="x" * size))

    trio.run(fill)


def nothing(_: int, __: int) -> None:
    """Do nothing: nobody watches the progress."""


def read_after(url: str, since: int) -> list[dict[str, Any]]:
    with connect(f"{url}/gatherings/room") as client:
        client.send(json.dumps({"type": "join", "since": since}))
        joined = json.loads(client.recv(timeout=PATIENCE))
        ops: list[dict[str, Any]] = joined["ops"]
        while since + len(ops) < joined["seq"]:
            message = json.loads(client.recv(timeout=PATIENCE))
            assert message["seq"] == since + len(ops) + 1
            ops += message.get("ops") or [message["op"]]
        return ops


def seq_of(path: Path) -> int:
    async def load() -> int:
        async with open_sqlite_store(path) as store:
            return (await store.load("room", recent_syncs=1)).seq

    return trio.run(load)


def test_a_busy_server_is_backed_up(tmp_path: Path) -> None:
    file, copy = tmp_path / "rooms.sqlite3", tmp_path / "copy.sqlite3"
    fill(file, 20_000)
    with serving("--store", f"sqlite:///{file}") as (process, url):
        submitters = [Submitter(f"c{number}") for number in range(2)]
        for submitter in submitters:
            submitter.url = url
            submitter.start()
        while not all(submitter.acknowledged for submitter in submitters):
            submitters[0].join(0.001)
        before = [dict(submitter.acknowledged) for submitter in submitters]
        code, out, err = run("backup", f"sqlite:///{file}", str(copy), "--json", cwd=tmp_path)
        assert (code, err) == (0, "")
        # They were busy all the time.
        assert all(submitter.is_alive() for submitter in submitters)
        assert all(
            len(submitter.acknowledged) > len(done)
            for submitter, done in zip(submitters, before, strict=True)
        )
        process.kill()
        for submitter in submitters:
            submitter.join(20)
    told = json.loads(out)
    assert (told["backup"], told["bytes"]) == (str(copy), copy.stat().st_size)
    assert told["seconds"] > 0
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with serving("--store", f"sqlite:///{copy}") as (_, url):
        ops = read_after(url, 20_000)
    for submitter, done in zip(submitters, before, strict=True):
        mine = [op["n"] for op in ops if op["by"] == submitter.name]
        assert mine == list(range(len(mine)))
        assert len(mine) >= len(done)


def test_a_path_names_the_store_too_and_people_are_told(tmp_path: Path) -> None:
    fill(tmp_path / "rooms.sqlite3")
    code, out, err = run("backup", "rooms.sqlite3", "copy.sqlite3", cwd=tmp_path)
    assert (code, err) == (0, "")
    assert out.startswith("backed up to copy.sqlite3: ")
    assert "KiB in " in out
    assert sorted(os.listdir(tmp_path)) == ["copy.sqlite3", "rooms.sqlite3"]
    assert seq_of(tmp_path / "copy.sqlite3") == 300


@pytest.mark.parametrize("name", ["b" * 255, "\N{MONEY BAG}" * 63, "\udcff"])
def test_a_copy_may_have_any_name(name: str, tmp_path: Path) -> None:
    fill(tmp_path / "rooms.sqlite3")
    code, _, err = run("backup", "rooms.sqlite3", name, "--json", cwd=tmp_path)
    assert (code, err) == (0, "")
    assert sorted(os.listdir(tmp_path)) == sorted([name, "rooms.sqlite3"])


@pytest.mark.parametrize(
    ("source", "target", "complaint"),
    [
        ("missing.sqlite3", "copy", "missing.sqlite3: no such file"),
        ("rooms.sqlite3", "taken", "taken: exists already"),
        ("rooms.sqlite3", "dangling", "dangling: exists already"),
        ("rooms.sqlite3", "rooms.sqlite3", "rooms.sqlite3: exists already"),
        ("rooms.sqlite3", "nowhere/copy", "nowhere/copy: No such file or directory"),
        ("rooms.sqlite3", "nowhere/..", "nowhere/..: No such file or directory"),
        ("rooms.sqlite3", "nowhere/", "nowhere/: no such directory; DEST is the new file"),
        ("rooms.sqlite3", "nowhere/.", "nowhere/.: no such directory; DEST is the new file"),
        ("rooms.sqlite3", "taken/", "taken/: no such directory; DEST is the new file"),
        ("rooms.sqlite3", "folder", "folder: is a directory; DEST is the new file"),
        ("rooms.sqlite3", "folder/", "folder/: is a directory; DEST is the new file"),
        ("rooms.sqlite3", ".", ".: is a directory; DEST is the new file"),
        ("rooms.sqlite3", "", "no such directory; DEST is the new file"),
        ("letter.txt", "copy", "letter.txt: file is not a database"),
        ("foreign.sqlite3", "copy", "foreign.sqlite3: the file is another program's"),
        ("empty", "copy", "empty: the file is empty"),
        ("memory:", "copy", "a store in memory has no file"),
        (
            "redis://me:hunter2@db/1",
            "copy",
            "a store is memory:, sqlite:///PATH or postgresql://HOST/DATABASE, not 'redis'",
        ),
    ],
)
def test_an_error_is_one_line_and_leaves_nothing(
    source: str,
    target: str,
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "rooms.sqlite3")
    (tmp_path / "letter.txt").write_text("Dear Sir or Madam, " * 100)
    (tmp_path / "taken").write_text("mine")
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    with closing(sqlite3.connect(tmp_path / "foreign.sqlite3")) as foreign:
        foreign.execute("CREATE TABLE letters (text TEXT)")
    before = sorted(os.listdir(tmp_path))
    code, out, err = run_here("backup", source, target)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert complaint in err
    assert "hunter2" not in err
    assert sorted(os.listdir(tmp_path)) == before
    assert os.listdir(tmp_path / "folder") == []
    assert (tmp_path / "taken").read_text() == "mine"


def test_what_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    source, target = tmp_path / "rooms.sqlite3", tmp_path / "copy"
    fill(source, 20_000)

    def give_up(copied: int, size: int) -> None:
        assert copied < size
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(source, target, give_up)
    assert os.listdir(tmp_path) == [source.name]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 100 MB, that isn't copied in an instant."""
    path = tmp_path_factory.mktemp("large") / "rooms.sqlite3"
    fill(path, 1_000, size=100_000)
    return path


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_nothing(number: signal.Signals, tmp_path: Path, large: Path) -> None:
    command = [sys.executable, "-m", "squire_gatherings", "backup", str(large), "copy"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            while not any(name.startswith(".copy.") for name in os.listdir(tmp_path)):
                assert process.poll() is None
            process.send_signal(number)
            _, err = process.communicate(timeout=PATIENCE)
            assert not err.strip()
            assert process.returncode == 128 + number
        finally:
            process.kill()
    assert {name for name in os.listdir(tmp_path) if "copy" in name} == set()


def test_a_target_that_another_makes_meanwhile_is_kept(tmp_path: Path) -> None:
    source, target = tmp_path / "rooms.sqlite3", tmp_path / "copy"
    fill(source, 20_000)
    with pytest.raises(StoreUnavailable, match="copy: File exists"):
        back_up(source, target, lambda _, __: target.touch())
    assert target.read_bytes() == b""
    assert sorted(os.listdir(tmp_path)) == ["copy", source.name]


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    source, target = tmp_path / "rooms.sqlite3", tmp_path / "copy"
    fill(source, 20_000)
    script = (
        "import resource, signal, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "sys.argv[1:] = ['backup', 'rooms.sqlite3', 'copy']\n"
        "from squire_gatherings._cli.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "disk" in done.stderr
    assert os.listdir(tmp_path) == [source.name]
    assert not target.exists()


def test_a_copy_has_what_was_not_folded_yet(tmp_path: Path) -> None:
    source, target = tmp_path / "rooms.sqlite3", tmp_path / "copy"

    async def back_up_an_open_one() -> None:
        async with open_sqlite_store(source) as store:
            await store.append(an_append("room", 1, 3))
            await trio.to_thread.run_sync(back_up, source, target, nothing)

    trio.run(back_up_an_open_one)
    assert seq_of(target) == 3
    with pytest.raises(StoreUnusable, match="exists already"):
        back_up(source, target, nothing)
