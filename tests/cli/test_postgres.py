"""The command line with a store in PostgreSQL: serving it, and its logs by their URL."""

import json
import signal
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.cli.process import PATIENCE
from tests.cli.process import run_here as run
from tests.forked import run as run_forked
from tests.forked import serving
from tests.postgres import Postgres

SECRET = "hunter2-and-nothing-else"


@pytest.fixture
def store(postgres: Postgres) -> str:
    """The URL of a new store, with a password, which this server doesn't ask for."""
    return postgres.new_url().replace("postgres@", f"postgres:{SECRET}@")


def submit(url: str, gathering: str, count: int) -> None:
    with connect(f"{url}/gatherings/{gathering}") as client:
        client.send(json.dumps({"type": "join"}))
        assert json.loads(client.recv(timeout=PATIENCE))["type"] == "joined"
        for number in range(count):
            sync = {"type": "sync", "id": f"s{number}", "base": 0, "ops": [{"n": number}]}
            client.send(json.dumps(sync))
            assert json.loads(client.recv(timeout=PATIENCE))["type"] == "synced"


def test_a_server_is_killed_and_its_logs_go_on(store: str, tmp_path: Path) -> None:
    with serving("--store", store) as (process, url):
        submit(url, "friday", 3)
        submit(url, "saturday", 2)
        process.send_signal(signal.SIGKILL)
        _, err = process.communicate()
    assert SECRET not in err
    listed = run("list", store, "--json")[1].splitlines()
    assert [json.loads(one)["seq"] for one in listed] == [3, 2]
    shown = json.loads(run("show", store, "friday", "--json")[1])
    assert (shown["seq"], shown["syncs"], len(shown["epochs"])) == (3, 3, 1)
    code, out, _ = run("verify", store, "--json")
    assert (code, json.loads(out)["ok"], json.loads(out)["ops"]) == (0, True, 5)
    exported = tmp_path / "friday.jsonl"
    audit = tmp_path / "audit.jsonl"
    assert run("export", store, "friday", str(exported), "--audit-log", str(audit))[0] == 0
    assert SECRET not in audit.read_text()
    assert run("import", store, str(exported), "--as", "copy")[1] == "imported copy, up to op 3\n"
    assert "up to 2" in run("fork", store, "friday", "forked", "--at", "2")[1]
    compacted = run(
        "compact", store, "c*", "--up-to", "2", "--log-only", "--yes", "--json", "--no-erase"
    )
    assert json.loads(compacted[1]) == {"compacted": {"copy": 3}}
    deleted = run("delete", store, "[f-s]*", "--yes", "--json")
    assert json.loads(deleted[1]) == {"deleted": ["forked", "friday", "saturday"]}
    played = run("replay", store, "copy", "--speed", "max")[1].splitlines()
    assert [json.loads(one)["op"] for one in played] == [{"n": 2}]
    # From a database into a file.
    run("export", store, "copy", str(tmp_path / "copy.jsonl"))
    code, out, _ = run("import", str(tmp_path / "rooms.sqlite3"), str(tmp_path / "copy.jsonl"))
    assert code == 2


def test_what_is_wrong_is_one_line_without_the_password(store: str, tmp_path: Path) -> None:
    away = f"postgresql://me:{SECRET}@127.0.0.1:1/rooms"
    for arguments, expected in (
        (("list", store), "has no schema"),
        (("list", away), "refused"),
        (("verify", f"postgresql://me:{SECRET}%zz@host/db"), "isn't one of PostgreSQL"),
        (("backup", store, str(tmp_path / "copy")), "pg_dump"),
        (("upgrade", "--store", store), "has no file"),
    ):
        code, out, err = run(*arguments, cwd=tmp_path)
        assert (code, out) == (2, ""), err
        assert err.count("\n") == 1
        assert expected in err
        assert SECRET not in err


def test_what_is_damaged_is_said_in_one_line(store: str, postgres: Postgres) -> None:
    with serving("--store", store) as (_, url):
        submit(url, "friday", 1)
    with postgres.connect() as database:
        database.execute(f"UPDATE {store.partition('schema=')[2]}.ops SET epoch = '\\xff'")
    for command in (("show", store, "friday"), ("export", store, "friday")):
        code, _, err = run(*command)
        assert (code, err.count("\n")) == (2, 1)
        assert "damaged" in err
    code, out, _ = run("verify", store)
    assert code == 1
    assert "friday: op 1: can't be read" in out


def test_a_server_whose_database_is_away_says_so(tmp_path: Path) -> None:
    away = f"postgresql://me:{SECRET}@127.0.0.1:1/rooms"
    code, out, err = run_forked("serve", "--port", "0", "--store", away, cwd=tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "refused" in err
    assert SECRET not in err


def test_the_doctor_looks_at_a_database(store: str, tmp_path: Path) -> None:
    _, out, _ = run("doctor", "--json", "--", "--port", "0", "--store", store, cwd=tmp_path)
    found = [one for one in json.loads(out)["findings"] if one["check"] == "store"]
    assert [one["level"] for one in found] == ["ok", "fail"]
    assert "no store yet; it will be made" in found[0]["says"]
    assert "fsync is off" in found[1]["says"]
    away = f"postgresql://me:{SECRET}@127.0.0.1:1/rooms"
    _, out, _ = run("doctor", "--json", "--", "--port", "0", "--store", away, cwd=tmp_path)
    assert SECRET not in out
    assert "refused" in out
