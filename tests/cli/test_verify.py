"""`verify`: what it prints, and the exit code; the server may have the file open."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import trio

from squire_gatherings import open_hall
from tests.cli.process import run_here
from tests.forked import serving


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "rooms.sqlite3"

    async def fill() -> None:
        async with open_hall(store=f"sqlite:///{path}") as hall:
            for name in ("friday", "monday"):
                for n in range(3):
                    await hall.submit(name, [{"n": n}])

    trio.run(fill)
    return path


def test_all_is_as_it_was_committed(store: Path, tmp_path: Path) -> None:
    code, out, err = run_here("verify", f"sqlite:///{store}", cwd=tmp_path)
    assert (code, err) == (0, "")
    assert out.startswith("2 gatherings are as they were committed, 0 things are wrong; 6 ops in ")
    code, out, err = run_here("verify", str(store), "monday", "--json", cwd=tmp_path)
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert (said["ok"], said["wrong"], said["ops"], said["refused"]) == (True, [], 3, 0)
    [proven] = said["proven"]
    assert (proven["gathering"], proven["seq"]) == ("monday", 3)
    with closing(sqlite3.connect(store)) as database:
        [head] = database.execute(
            "SELECT hex(ops.head) FROM ops JOIN gatherings ON key = gathering"
            " WHERE id = 'monday' AND seq = 3"
        ).fetchone()
    assert proven["head"] == head.lower()


def test_what_is_wrong_is_said(store: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(store)) as database, database:
        database.execute("UPDATE ops SET by = 'eve' WHERE gathering = 1 AND seq = 2")
        database.execute("INSERT INTO refused VALUES (1, x'00', 'why')")
    code, out, err = run_here("verify", str(store), cwd=tmp_path)
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert lines[0] == "wrong: friday: op 2: the ops from 2 to 2 have another head"
    assert lines[1].startswith("1 appends are in the table refused")
    assert lines[2].startswith("1 gatherings are as they were committed, 1 things are wrong;")
    code, out, _ = run_here("verify", str(store), "--json", cwd=tmp_path)
    assert code == 1
    said = json.loads(out)
    assert (said["ok"], said["refused"]) == (False, 1)
    assert said["wrong"] == [
        {"gathering": "friday", "seq": 2, "what": "the ops from 2 to 2 have another head"}
    ]
    assert run_here("verify", str(store), "monday", cwd=tmp_path)[0] == 0


def test_files_that_are_no_stores_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "no.sqlite3"
    code, out, err = run_here("verify", str(path), cwd=tmp_path)
    assert (code, out) == (2, "")
    assert err == f"squire_gatherings: error: {path}: no such file\n"
    path.write_bytes(b"nothing like it" * 100)
    code, out, err = run_here("verify", str(path), cwd=tmp_path)
    assert (code, out) == (2, "")
    assert "file is not a database" in err
    code, _, err = run_here("verify", "memory:", cwd=tmp_path)
    assert code == 2
    assert "a store in memory has no file" in err


def test_the_file_of_a_server_that_has_it_open(store: Path, tmp_path: Path) -> None:
    with serving("--store", f"sqlite:///{store}") as (process, url):
        code, out, err = run_here("submit", url, "friday", '{"n": 4}', cwd=tmp_path)
        assert (code, err) == (0, "")
        code, out, err = run_here("verify", str(store), "friday", "--json", cwd=tmp_path)
        assert (code, err) == (0, "")
        assert json.loads(out)["proven"][0]["seq"] == 4
        # The server goes on.
        code, out, err = run_here("submit", url, "friday", '{"n": 5}', cwd=tmp_path)
        assert (code, err) == (0, "")
        assert process.poll() is None
    code, out, _ = run_here("verify", str(store), "friday", "--json", cwd=tmp_path)
    assert json.loads(out)["proven"][0]["seq"] == 5
