"""`list`, `show`, `export`, `import`, `fork`, `delete`, `compact`: of a file, served or not."""

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import trio
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from squire_gatherings._cli.points import Point, format_time, parse_point
from squire_gatherings._stores import open_sqlite_store
from squire_gatherings._stores.sqlite import offline
from squire_gatherings._stores.sqlite.locks import locked
from squire_gatherings._stores.sqlite.schema import VERSION
from tests.cli.process import PATIENCE
from tests.cli.process import run_here as run
from tests.forked import run_code, serving
from tests.stores.appends import an_append, crashed_copy
from tests.stores.chained import Chain, ops_of, whole

NAMES = ("load-1-0", "load-1-1", "load-2-0", "friday-night", "LOAD-1-0")
SECRET = "rosebud-and-nothing-else"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A file as a server leaves it that was killed: some is in its journal."""
    path = tmp_path / "rooms.sqlite3"

    async def fill() -> None:
        chains = {name: Chain(name, time=1_700_000_000_000) for name in NAMES}
        for last in (False, True):
            async with open_sqlite_store(path) as store:
                for chain in chains.values():
                    for count in (2, 1):
                        text = SECRET if chain.gathering == "load-1-0" else ""
                        append = chain.append(count, snapshot=True, later=60_000, text=text)
                        await store.append(append)
                if last:
                    crashed_copy(path)

    trio.run(fill)
    return tmp_path / "crashed-rooms.sqlite3"


def rows(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as database:
        return {
            table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("gatherings", "ops", "syncs", "snapshots", "journal", "tombstones")
        }


def contains(path: Path, text: str) -> bool:
    """Return whether the store's file, or one beside it, has this text."""
    needle = text.encode()
    return any(needle in one.read_bytes() for one in path.parent.glob(f"{path.name}*"))


def lines(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_list_and_show_describe_the_logs(store: Path, tmp_path: Path) -> None:
    assert run("delete", str(store), "LOAD*", "--yes", cwd=tmp_path)[0] == 0
    code, out, err = run("list", str(store), "--json", cwd=tmp_path)
    assert (code, err) == (0, "")
    listed = lines(out)
    assert [one["gathering"] for one in listed] == sorted(NAMES)
    assert [one["deleted"] for one in listed] == [True, False, False, False, False]
    one = listed[1]
    assert (one["seq"], one["first_seq"], one["snapshots"], one["syncs"]) == (6, 1, 4, 6)
    assert one["last_time"] - one["first_time"] == 180_000
    code, out, _ = run("list", str(store), "--after", "friday-night", "--limit", "2", cwd=tmp_path)
    assert code == 0
    assert [line.split("  ")[:2] for line in out.splitlines()] == [
        ["load-1-0", "6"],
        ["load-1-1", "6"],
    ]
    code, out, _ = run("show", f"sqlite:///{store}", "friday-night", "--json", cwd=tmp_path)
    [shown] = lines(out)
    assert (code, shown["snapshot_seqs"], shown["head"]) == (0, [2, 3, 5, 6], one["head"])
    assert shown["epochs"] == [[1, "e0"], [5, "e1"]]
    code, out, _ = run("show", str(store), "LOAD-1-0", cwd=tmp_path)
    assert (code, out.startswith("deleted    at 20")) == (0, True)
    assert "snapshots  2, 3, 5, 6" in run("show", str(store), "load-1-1", cwd=tmp_path)[1]


def test_a_log_goes_out_and_in(store: Path, tmp_path: Path) -> None:
    file, other = tmp_path / "friday.jsonl", tmp_path / "other.sqlite3"

    async def make() -> None:
        async with open_sqlite_store(other):
            pass

    trio.run(make)
    assert run("export", str(store), "friday-night", str(file), cwd=tmp_path)[:2] == (
        0,
        f"exported 6 ops to {file}\n",
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    code, out, _ = run("export", str(store), "friday-night", cwd=tmp_path)
    assert (code, out) == (0, file.read_text())
    assert [one["type"] for one in lines(out)].count("op") == 6
    targets: tuple[tuple[tuple[str, ...], str], ...] = (
        (("import", str(other), str(file)), "imported friday-night, up to op 6\n"),
        (
            ("import", str(other), str(file)),
            "friday-night is there already, with these ops up to 6\n",
        ),
        (("import", str(other), str(file), "--as", "b"), "imported b, up to op 6\n"),
        (("fork", str(other), "b", "c", "--at", "4"), "c has the ops of b up to 4\n"),
        (
            ("fork", str(other), "b", "d", "--at", "2023-11-14T22:15:20"),
            "d has the ops of b up to 3\n",
        ),
    )
    for target, text in targets:
        assert run(*target, cwd=tmp_path)[:2] == (0, text)

    async def compare() -> None:
        async with open_sqlite_store(store) as one, open_sqlite_store(other) as two:
            assert await whole(one, "friday-night") == await whole(two, "friday-night")
            _, links, _ = await whole(one, "friday-night")
            _, forked, _ = await whole(two, "c")
            assert ops_of(forked) == ops_of(links)[:4]

    trio.run(compare)
    written = file.read_text().splitlines(keepends=True)
    (tmp_path / "cut.jsonl").write_text("".join(written[:-1]))
    (tmp_path / "wrong.jsonl").write_text(
        "".join([*written[:2], written[2].replace("alice", "bob"), *written[3:]])
    )
    (tmp_path / "longer.sqlite3").touch()
    run("delete", str(other), "b", "--yes", cwd=tmp_path)
    wrong: tuple[tuple[tuple[str, ...], str], ...] = (
        (("import", str(other), "cut.jsonl", "--as", "e"), "cut off after line"),
        (("import", str(other), "wrong.jsonl", "--as", "e"), "another head"),
        (("import", str(other), "missing.jsonl"), "No such file"),
        (("import", str(other), "."), "Is a directory"),
        (("import", str(other), str(file), "--as", "b"), "add --even-if-deleted"),
        (("import", str(other), str(file), "--as", "c"), "c already, with another log"),
        (("import", str(other), str(file), "--as", "no/name"), "a gathering id"),
        (("export", str(other), "b"), "was deleted at"),
        (("export", str(other), "x"), "there is no gathering x"),
        (("export", str(other), "c", str(file)), "exists already"),
        (("fork", str(other), "c", "f", "--at", "9"), "has the ops from 1 to 4"),
        (("fork", str(other), "c", "f", "--at", "1999-01-01"), "nothing from before"),
        (("fork", str(other), "c", "f", "--at", "soon"), "neither a seq nor a time"),
        (("show", "longer.sqlite3", "c"), "the file is empty"),
        (("list", "missing.sqlite3"), "no such file"),
        (("list", "memory:"), "a store in memory has no file"),
    )
    for target, complaint in wrong:
        code, out, err = run(*target, cwd=tmp_path)
        assert (code, out, err.count("\n")) == (2, "", 1), target
        assert complaint in err
    assert (
        run("import", str(other), str(file), "--as", "b", "--even-if-deleted", cwd=tmp_path)[0] == 0
    )


def test_what_is_deleted_is_in_no_file_any_more(store: Path, tmp_path: Path) -> None:
    assert contains(store, SECRET)
    code, out, err = run("delete", str(store), "load-[12]-*", "--yes", "--json", cwd=tmp_path)
    assert (code, err) == (0, "")
    assert json.loads(out) == {"deleted": ["load-1-0", "load-1-1", "load-2-0"]}
    assert not contains(store, SECRET)
    assert rows(store) == {
        "gatherings": 2,
        "ops": 12,
        "syncs": 12,
        "snapshots": 8,
        "journal": 0,
        "tombstones": 3,
    }
    # The rest is as it was.
    with closing(sqlite3.connect(store)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_file_that_somebody_reads_is_written_anew_later(store: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(store, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM ops").fetchone()
        with patch.object(offline, "BUSY_TIMEOUT", 0.1):
            code, out, err = run("delete", str(store), "load-*", "--yes", cwd=tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "it's done, but may still be in the file" in err
    code, out, _ = run("delete", str(store), "load-*", "--yes", "--erase", cwd=tmp_path)
    assert (code, out) == (0, "deleted 0 gatherings\n")
    assert not contains(store, SECRET)


def test_what_is_compacted_is_in_no_file_any_more(store: Path, tmp_path: Path) -> None:
    file = str(store)
    code, out, _ = run("compact", file, "load-*", "--up-to", "4", "--yes", "--json", cwd=tmp_path)
    assert (code, json.loads(out)) == (
        0,
        {"compacted": {"load-1-0": 4, "load-1-1": 4, "load-2-0": 4}},
    )
    assert contains(store, SECRET)
    code, out, _ = run("compact", file, "*", "--keep", "30d", "--log-only", "--yes", cwd=tmp_path)
    assert (code, out) == (0, "compacted 5 of 5 gatherings\n")
    assert not contains(store, SECRET)
    described = lines(run("list", file, "--json", cwd=tmp_path)[1])[1]
    assert described["first_seq"] == 7
    name = described["gathering"]
    assert f"{name}  none-after-6  " in run("list", file, cwd=tmp_path)[1]
    assert "none: those up to 6 were left out, 0 B" in run("show", file, name, cwd=tmp_path)[1]
    wrong: tuple[tuple[tuple[str, ...], str], ...] = (
        (("compact", file, "nope", "--yes", "--keep", "1d"), "there is no gathering nope"),
        (("delete", file, "nope", "--yes"), "there is no gathering nope"),
        (("compact", file, "*", "--yes"), "either --up-to or --keep"),
        (("compact", file, "*", "--yes", "--keep", "1d", "--up-to", "3"), "either --up-to"),
        (("compact", file, "*", "--keep", "1d"), "add --yes"),
        (("delete", file, "*"), "add --yes"),
    )
    for target, complaint in wrong:
        code, out, err = run(*target, cwd=tmp_path)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert complaint in err
    code, out, _ = run("delete", file, "nope-*", "--yes", cwd=tmp_path)
    assert (code, out) == (0, "deleted 0 gatherings\n")


def test_the_file_of_an_older_server_is_left_as_it_is(tmp_path: Path) -> None:
    """That server couldn't go on with a newer schema."""
    path = tmp_path / "rooms.sqlite3"
    schema = Path(__file__).parents[1] / "stores" / "schema6.sql"

    def version() -> int:
        with closing(sqlite3.connect(path)) as database:
            [found] = database.execute("PRAGMA user_version").fetchone()
            return int(found)

    with closing(sqlite3.connect(path)) as database:
        database.executescript(schema.read_text())
    with locked(path.resolve()):
        for command in (("list",), ("delete", "*", "--yes"), ("export", "friday")):
            code, out, err = run(command[0], str(path), *command[1:], cwd=tmp_path)
            assert (code, out, err.count("\n")) == (2, "", 1)
            assert f"in use by process {os.getpid()}; its server has schema version 6" in err
        assert version() == 6
    code, _, err = run("verify", str(path), cwd=tmp_path)
    assert (code, version()) == (2, 6)
    assert f"has schema version 6, not {VERSION}: serve it once" in err
    assert run("list", str(path), cwd=tmp_path)[0] == 0
    assert version() == VERSION


def test_points() -> None:
    assert parse_point(" 42 ") == Point(42, None)
    assert parse_point("1764288000000") == Point(None, 1764288000000)
    for text in ("2025-11-28", "2025-11-28T00:00:00Z", "2025-11-28T01:00:00+01:00"):
        assert parse_point(text) == Point(None, 1764288000000)
    assert format_time(1764288000000) == "2025-11-28T00:00:00.000Z"
    assert (format_time(0), format_time(1)) == ("-", "1970-01-01T00:00:00.001Z")
    last = 253_402_300_799_999
    assert format_time(last) == "9999-12-31T23:59:59.999Z"
    assert format_time(last + 1) == "+10000-01-01T00:00:00.000Z"
    # 400 years, and as many again.
    assert format_time(last + 2 * 12_622_780_800_000) == "+10799-12-31T23:59:59.999Z"
    assert format_time(10**17) == "after the year 999999"
    for text in ("", "-1", "1969-01-01", "today", "9" * 30):
        with pytest.raises(ValueError, match=r"neither|1970"):
            parse_point(text)


def test_a_log_is_deleted_under_a_server(tmp_path: Path) -> None:
    file = tmp_path / "rooms.sqlite3"
    with ExitStack() as stack:
        _, url = stack.enter_context(serving("--store", f"sqlite:///{file}"))

        def join(room: str, **more: Any) -> Any:
            client = stack.enter_context(connect(f"{url}/gatherings/{room}"))
            client.send(json.dumps({"type": "join", **more}))
            return client, json.loads(client.recv(timeout=PATIENCE))

        def submit(client: Any, number: int) -> Any:
            op = {"n": number, "text": SECRET if client is room else ""}
            client.send(json.dumps({"type": "sync", "id": f"s{number}", "base": 0, "ops": [op]}))
            return json.loads(client.recv(timeout=PATIENCE))

        room, joined = join("room")
        other, _ = join("other")
        for number in range(3):
            assert submit(room, number)["type"] == "synced"
        assert submit(other, 1)["seqs"] == [1]
        code, out, err = run("delete", str(file), "room", "--yes", "--json", cwd=tmp_path)
        assert (code, err) == (0, "")
        assert json.loads(out) == {"deleted": ["room"]}
        assert not contains(file, SECRET)
        # The server tells this client by itself, within seconds, and no other client.
        dispersed = json.loads(room.recv(timeout=PATIENCE))
        assert (dispersed["type"], dispersed["reason"]) == ("dispersed", "admin")
        with pytest.raises(ConnectionClosed):
            room.recv(timeout=PATIENCE)
        assert submit(other, 2)["seqs"] == [2]
        _, refused = join("room", since=3, epoch=joined["incarnation"])
        assert refused["code"] == "log_replaced"
        room, again = join("room")
        assert (again["seq"], again["ops"]) == (0, [])
        assert submit(room, 9)["seqs"] == [1]
        # A client that appends is told at once.
        run("delete", str(file), "room", "--yes", cwd=tmp_path)
        said = submit(room, 10)
        assert (said["type"], said["reason"]) == ("dispersed", "admin")
        assert (
            run("compact", str(file), "other", "--up-to", "1", "--log-only", "--yes", cwd=tmp_path)[
                0
            ]
            == 0
        )
        assert json.loads(other.recv(timeout=PATIENCE))["type"] == "dispersed"
        _, joined = join("other")
        assert (joined["seq"], joined["first_seq"], len(joined["ops"])) == (2, 2, 1)
        # Our client is told where the log begins, and continues from there.
        played = lines(run("replay", url, "other", "--speed", "max", cwd=tmp_path)[1])
        assert [one["seq"] for one in played] == [2]
        [listed, _] = lines(run("list", str(file), "--json", cwd=tmp_path)[1])
        assert (listed["gathering"], listed["first_seq"], listed["seq"]) == ("other", 2, 2)


KILLED = """
import os, signal, sys
from pathlib import Path
from squire_gatherings._stores.sqlite import archive, log_changes, offline

path, command, left = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

def stopped():
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return False

def go(database):
    if command == "delete":
        log_changes.delete(database, "room", 1)
    else:
        log_changes.compact(database, "room", 9000, None, forget_syncs=False)

offline.changed(path, go, stopped)
offline.erase(path, stopped)
"""


def test_what_was_is_shown_again(tmp_path: Path) -> None:
    file = tmp_path / "rooms.sqlite3"
    with serving("--store", f"sqlite:///{file}") as (_, url):
        with connect(f"{url}/gatherings/room") as client:
            client.send(json.dumps({"type": "join"}))
            client.recv(timeout=PATIENCE)
            for number in range(5):
                ops = [{"n": number}]
                sync = {"type": "sync", "id": f"s{number}", "base": 0, "ops": ops}
                client.send(json.dumps(sync))
                assert json.loads(client.recv(timeout=PATIENCE))["type"] == "synced"
        code, out, err = run("watch", url, "room", "--at", "3", "--json", cwd=tmp_path)
        assert (code, err) == (0, "")
        seen = lines(out)
        assert [(one["seq"], one["op"]) for one in seen] == [(n + 1, {"n": n}) for n in range(3)]
        assert run("watch", url, "room", "--at", "3", "--since", "2", cwd=tmp_path)[1] == (
            '3  -  {"n": 2}\n'
        )
        assert run("watch", url, "room", "--at", "2000-01-01", cwd=tmp_path)[:2] == (0, "")
        later = run("watch", url, "room", "--at", "2500-01-01", "--json", cwd=tmp_path)[1]
        assert len(lines(later)) == 5
        for more, complaint in (
            (("--at", "9"), "the last op is 5"),
            (("--at", "3", "--count", "1"), "--count"),
        ):
            code, out, err = run("watch", url, "room", *more, cwd=tmp_path)
            assert (code, out, err.count("\n")) == (2, "", 1)
            assert complaint in err
        played = {
            source: run("replay", source, "room", "--speed", "max", "--since", "1", cwd=tmp_path)
            for source in (url, str(file))
        }
    assert played[url] == played[str(file)]
    code, out, _ = played[url]
    assert code == 0
    assert [(one["seq"], one["op"]["n"], one["by"]) for one in lines(out)] == [
        (n + 1, n, None) for n in range(1, 5)
    ]
    assert [one["time"] for one in lines(out)[:2]] == [one["time"] for one in seen[1:]]
    code, out, _ = run("replay", str(file), "room", "--until", "2", "--speed", "1000", cwd=tmp_path)
    assert (code, len(lines(out))) == (0, 2)
    for target, complaint in (
        (("replay", str(file), "room", "--speed", "0"), "neither a number above 0 nor max"),
        (("replay", str(file), "nothing"), "there is no gathering nothing"),
    ):
        code, out, err = run(*target, cwd=tmp_path)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert complaint in err


@pytest.mark.parametrize("command", ["delete", "compact"])
def test_a_command_that_is_killed_leaves_all_or_nothing(tmp_path: Path, command: str) -> None:
    path = tmp_path / "rooms.sqlite3"

    async def fill() -> None:
        async with open_sqlite_store(path) as store:
            chain = Chain("room")
            for _ in range(20):
                await store.append(chain.append(500, snapshot=True, text="x" * 100))

    trio.run(fill)
    before = (1, 10_000, 10_000)
    after = {"delete": (0, 0, 0), "compact": (9001, 10_000, 1000)}[command]
    seen = set()
    for steps in (0, 5, 30):
        code, _, _ = run_code(KILLED, str(path), command, str(steps))
        assert code in (0, -signal.SIGKILL)
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA quick_check").fetchall() == [("ok",)]
            row = database.execute("SELECT first_seq, head FROM gatherings").fetchone()
            [count] = database.execute("SELECT count(*) FROM ops").fetchone()
            [dead] = database.execute("SELECT count(*) FROM tombstones").fetchone()
        found = (*(row or (0, 0)), count)
        assert found in (before, after)
        assert dead == (command == "delete" and found == after)
        seen.add(found)
    assert before in seen
    assert run(command, str(path), "room", "--yes", *UP_TO.get(command, ()), cwd=tmp_path)[0] == 0
    assert {
        one["first_seq"] for one in lines(run("list", str(path), "--json", cwd=tmp_path)[1])
    } == {{"delete": 1, "compact": 9001}[command]}


UP_TO = {"compact": ("--up-to", "9000")}


def test_ctrl_c_gives_up(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"

    async def fill() -> None:
        async with open_sqlite_store(path) as store:
            await store.append(an_append("room", 1, 3))

    trio.run(fill)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = subprocess.Popen(
        [sys.executable, "-m", "squire_gatherings", "import", str(path), str(fifo)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with open(fifo, "wb") as writer:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE) == 130
        writer.close()
    process.communicate()
    assert rows(path)["gatherings"] == 1
