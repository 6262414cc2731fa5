"""The audit log: who did what, to what, with what outcome, whatever the level of other logs."""

import json
import logging
import os
import signal
import stat
import time
from pathlib import Path
from typing import Any

import click
import pytest

from squire_gatherings import BadSetting, open_hall
from squire_gatherings._cli.audit_log import AuditFile, audit_log, audited, who_runs_it
from squire_gatherings._cli.cli import cli
from tests.cli.process import PATIENCE
from tests.forked import serving
from tests.server.raw import RawClient


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def actions(path: Path) -> list[tuple[str, str, str]]:
    return [(one["action"], one["target"], one["outcome"]) for one in records(path)]


async def a_store(folder: Path, *ids: str) -> str:
    path = folder / "rooms.sqlite3"
    async with open_hall(store=f"sqlite:///{path}") as hall:
        for one in ids:
            for number in range(3):
                await hall.submit(one, [{"n": number}])
    return str(path)


def command(*arguments: str) -> None:
    cli.main(list(arguments), prog_name="squire-gatherings", standalone_mode=False)


async def test_commands_that_change_logs_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, audit = await a_store(tmp_path, "a", "b"), tmp_path / "audit.jsonl"
    monkeypatch.setenv("SQUIRE_AUDIT_LOG", str(audit))
    exported = tmp_path / "a.jsonl"
    command("export", store, "a", str(exported))
    command("export", store, "b")
    command("fork", store, "a", "c", "--at", "2")
    command("import", store, str(exported), "--as", "d")
    command("import", store, str(exported), "--as", "d")
    command("compact", store, "b", "--up-to", "2", "--log-only", "--yes", "--no-erase")
    command("delete", store, "[acx]", "--yes", "--no-erase")
    command("list", store)
    with pytest.raises(Exception, match="no gathering nobody"):
        command("export", store, "nobody")
    assert actions(audit) == [
        ("export", f"a in {store}", "done"),
        ("export", f"b in {store}", "done"),
        ("fork", f"c in {store}", "done"),
        ("import", f"d in {store}", "done"),
        # What is there already isn't changed.
        ("compact", f"b in {store}", "done"),
        ("delete", f"a in {store}", "done"),
        ("delete", f"c in {store}", "done"),
        ("export", store, "failed"),
    ]
    assert {one["operator"] for one in records(audit)} == {who_runs_it()}
    assert f"uid {os.getuid()}" in who_runs_it()
    assert stat.S_IMODE(os.stat(audit).st_mode) == 0o600
    assert "operator" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("kind", ["no folder", "folder", "pipe"])
async def test_what_cannot_be_noted_is_not_done(kind: str, tmp_path: Path) -> None:
    store, path = await a_store(tmp_path, "a"), f"{tmp_path}/audit"
    match kind:
        case "no folder":
            path = f"{tmp_path}/none/audit"
        case "folder":
            path = str(tmp_path)
        case "pipe":
            os.mkfifo(path)
    with pytest.raises((BadSetting, click.BadParameter), match=r"can't be written|is a directory"):
        command("delete", store, "a", "--yes", "--no-erase", "--audit-log", path)
    async with open_hall(store=f"sqlite:///{store}") as hall:
        assert (await hall.fetch("a")).seq == 3


def test_a_file_that_is_moved_and_one_that_cannot_be_opened_again(tmp_path: Path) -> None:
    path, moved = tmp_path / "audit", tmp_path / "audit.1"
    logger = logging.getLogger("squire_gatherings.audit")
    with audit_log(str(path)) as file:
        assert isinstance(file, AuditFile)
        logger.info("1")
        path.rename(moved)
        file.reopen()
        path.rename(tmp_path / "audit.2")
        path.mkdir()
        with pytest.raises(BadSetting):
            file.reopen()
        logger.info("2")
    told = [one["event"] for name in ("audit.1", "audit.2") for one in records(tmp_path / name)]
    assert sorted(told) == ["1", "2"]
    assert not logger.handlers
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file.number)


def test_nothing_is_written_without_a_file(tmp_path: Path) -> None:
    with audited(None, "delete", "store") as done:
        done.append("a")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there's no SIGHUP")
def test_a_server_notes_signals_and_takes_over_its_file(tmp_path: Path) -> None:
    config, audit, moved = (tmp_path / name for name in ("squire.toml", "audit", "audit.1"))
    config.write_text('store = "memory:"\nlog-level = "error"')
    with serving("--config", str(config), "--audit-log", str(audit)) as (process, url):
        assert process.stderr is not None
        config.write_text('store = "memory:"\nlog-level = "info"\nrate-limit = "many"')
        process.send_signal(signal.SIGHUP)
        assert "'rate-limit': 'many' is neither" in await_line(process.stderr, "can't reload")
        assert "outcome=failed" in await_line(process.stderr, "action=reload")
        # A thread writes it to the file, after the other logs have it.
        until = time.monotonic() + PATIENCE
        while len(actions(audit)) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        audit.rename(moved)
        config.write_text('store = "sqlite:///x"\nlog-level = "info"\nmax-connections = 1')
        process.send_signal(signal.SIGHUP)
        assert "options=store" in await_line(process.stderr, "a restart is needed")
        assert "options=log-level,max-connections" in await_line(process.stderr, "event=reloaded")
        await_line(process.stderr, "action=reload")
        with RawClient(f"{url}/gatherings/a") as client:
            client.say(type="join")
            client.hear()
            with pytest.raises(AssertionError, match="status_code=503"):
                RawClient(f"{url}/gatherings/a")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)
    # The level is another one by now.
    assert 'event="request refused"' in err
    assert process.returncode == 0
    assert actions(moved) == [("start", url, "done"), ("reload", "", "failed")]
    assert actions(audit) == [
        ("reload", "options: log-level,max-connections", "done"),
        ("stop", url, "done"),
    ]
    assert records(audit)[-1]["operator"].startswith("SIGTERM from uid ")


def await_line(lines: Any, text: str) -> str:
    for line in lines:
        if text in line:
            return str(line)
    raise AssertionError(text)
