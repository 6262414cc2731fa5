"""The crew: workers that end are started again, are told to reload, and give signs of life."""

import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from squire_gatherings._cli.workers import crew as crews
from squire_gatherings._cli.workers.crew import Crew
from squire_gatherings._cli.workers.notices import Notices
from squire_gatherings._cli.workers.worker import find_worker

WORKER = """
import json, os, pathlib, signal, socket, sys
worker = json.loads(os.environ["_SQUIRE_WORKER"])
folder = pathlib.Path(sys.argv[1])
lifeline = socket.socket(fileno=worker["lifeline"])
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect(os.environ["NOTIFY_SOCKET"])
def say(*lines):
    notify.send("\\n".join(lines).encode())
def reload(*_):
    say("RELOADING=1")
    say("READY=1", "STATUS=fine" + ("; can't reload: no key" if worker["number"] else ""))
signal.signal(signal.SIGHUP, reload)
with open(folder / f"starts-{worker['number']}", "a") as starts:
    starts.write(f"{os.getpid()}\\n")
if (folder / "fails").exists():
    sys.exit(2)
say("READY=1", "STATUS=fine")
if (folder / f"ends-{worker['number']}").exists():
    sys.exit(3)
lifeline.recv(1)
say("STOPPING=1")
"""
"""A worker that serves nobody, and imports little."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crews, "FIRST_PAUSE", 0.01)


@asynccontextmanager
async def running(folder: Path, watchdog: float | None = None) -> AsyncIterator[Crew]:
    code = folder / "worker.py"
    code.write_text(WORKER)
    command = [sys.executable, "-S", str(code), str(folder)]
    crew = Crew(str(folder), (), ((), ()), watchdog, command)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(crew.run)
            yield crew
            crew.stop()


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds that processes do."""
    while not holds():
        await trio.testing.wait_all_tasks_blocked(0.01)


def starts(folder: Path, number: int) -> list[str]:
    file = folder / f"starts-{number}"
    return file.read_text().split() if file.exists() else []


async def test_they_are_ready_reload_and_end(tmp_path: Path) -> None:
    async with running(tmp_path) as crew:
        await crew.wait_ready()
        assert await crew.reload() == "no key"
    assert crew.failure is None
    assert [len(starts(tmp_path, number)) for number in (0, 1)] == [1, 1]


async def test_they_are_renewed_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as crew:
        await crew.wait_ready()
        assert await crew.renew() == ""
        assert [len(starts(tmp_path, number)) for number in (0, 1)] == [2, 2]
        # The first one doesn't come back: the other one stays as it is.
        (tmp_path / "ends-0").touch()
        (tmp_path / "fails").touch()
        monkeypatch.setattr(crews, "MOST_RENEWING", 0.5)
        assert "worker 0 doesn't serve again" in await crew.renew()
        assert len(starts(tmp_path, 1)) == 2
        (tmp_path / "fails").unlink()


async def test_one_that_ends_is_started_again_after_longer_and_longer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "ends-1").touch()
    async with running(tmp_path):
        await until(lambda: len(starts(tmp_path, 1)) >= 4)
    ended = [one for one in caplog.records if "is started again" in one.message]
    assert [one.__dict__["pause"] for one in ended][:3] == [0.01, 0.02, 0.04]
    assert all(one.__dict__["how"] == "code 3" for one in ended)
    assert all(one.__dict__["worker"] == 1 for one in ended)
    assert len(starts(tmp_path, 0)) == 1


async def test_one_that_ends_right_after_it_said_that_it_serves_has_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end may be noticed before its last words are read."""

    async def hears_nothing(_: Notices, __: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(crews, "listen_to", hears_nothing)
    (tmp_path / "ends-1").touch()
    async with running(tmp_path) as crew:
        await until(lambda: len(starts(tmp_path, 1)) >= 2 or crew.failure is not None)
        assert crew.failure is None


async def test_one_that_never_served_ends_all(tmp_path: Path) -> None:
    (tmp_path / "fails").touch()
    async with running(tmp_path) as crew:
        await until(lambda: crew.failure is not None)
    assert crew.failure is not None
    assert crew.failure.code == 2
    assert str(crew.failure).endswith("ended at its start with code 2")


async def test_one_that_gives_no_sign_of_life_is_ended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    async with running(tmp_path, watchdog=0.2) as crew:
        await crew.wait_ready()
        await until(lambda: all(len(starts(tmp_path, number)) > 1 for number in (0, 1)))
    assert "a worker gives no sign of life, and is ended" in caplog.messages
    assert any(one.__dict__.get("how") == "SIGABRT" for one in caplog.records)


def test_nonsense_is_no_notice() -> None:
    notices = Notices()
    for text in ("", "=", "\n\n", "MAINPID=1", "STATUS=READY=1"):
        notices.take(text, 0.0)

    assert not notices.is_ready
    notices.take("READY=1", 0.0)
    assert notices.is_ready
    notices.take("STOPPING=1", 1.0)
    assert not notices.is_ready
    assert notices.heard_at == 1.0


@pytest.mark.parametrize("text", ["", "nonsense", "{}", '{"number": 0}', "[" * 10_000])
def test_only_a_crew_makes_a_worker(text: str) -> None:
    with pytest.raises(Exception, match="is for `serve --workers` alone"):
        find_worker({"_SQUIRE_WORKER": text})
    assert find_worker({}) is None
