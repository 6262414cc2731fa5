"""`serve --workers N`: several processes that serve together, and the one that keeps them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
import trio

from squire_gatherings import CannotConnect
from squire_gatherings._rules.shards import shard_of
from squire_gatherings.client import open_client
from tests.cli.process import PATIENCE, READY, run_here
from tests.cli.test_systemd import Listener
from tests.forked import serving
from tests.server.certificates import trusting, write
from tests.server.raw import RawClient

ROOMS = [f"room-{number}" for number in range(9)]


@contextmanager
def crew(
    *options: str, workers: int = 3, **environment: str
) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Start some workers; give the process that keeps them and the URL; end it at the end."""
    command = [sys.executable, "-m", "squire_gatherings", "serve", "--workers", str(workers)]
    with subprocess.Popen(
        [*command, "--port", "0", "--close-grace", "1s", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith(READY):
                raise RuntimeError(f"{line!r}, {process.communicate()}")
            yield process, line.removeprefix(READY).strip()
        finally:
            # Workers that nobody keeps end by themselves.
            process.kill()


def children(pid: int) -> dict[int, int]:
    """Return the processes that one has started, by the number of the worker."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) != pid:
                continue
            told = (entry / "environ").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        text = next((one for one in told if one.startswith(b"_SQUIRE_WORKER=")), None)
        if text is not None:
            found[json.loads(text.partition(b"=")[2])["number"]] = int(entry.name)
    return found


def is_there(pid: int) -> bool:
    """Return whether a process is there that hasn't ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_gone(pids: Iterable[int]) -> None:
    """Return once none of these processes is there."""
    until = time.monotonic() + PATIENCE
    while any(map(is_there, pids)):
        assert time.monotonic() < until
        time.sleep(0.05)


def scrape(url: str, token: str) -> Counter[str]:
    """Return where a worker says that clients were brought."""
    request = Request(f"{url}/metrics", headers={"Authorization": f"Bearer {token}"})
    with urlopen(request, timeout=PATIENCE) as answer:
        text = answer.read().decode()
    found = re.findall(r'^squire_routed_total{way="(\w+)"} ([0-9.]+)$', text, re.MULTILINE)
    return Counter({way: int(float(count)) for way, count in found})


async def say_something(url: str, room: str, count: int = 1) -> list[int]:
    """Join a gathering from a new connection, and submit an op; return its seq."""
    async with open_client(url, connect_timeout=PATIENCE) as client, client.join(room) as gathering:
        return [await gathering.submit({"n": number}) for number in range(count)]


async def say_in_the_end(url: str, room: str) -> list[int]:
    """As `say_something`, once somebody can be reached who has the gathering."""
    while True:
        try:
            return await say_something(url, room)
        except CannotConnect:
            await trio.sleep(0.05)


async def test_a_whole_life(tmp_path: Path) -> None:
    """Fifty clients, a worker that is killed, a reload, and the end; systemd is told of it."""
    systemd = Listener(str(tmp_path / "notify"))
    folder, config = tmp_path / "rooms", tmp_path / "squire.toml"
    config.write_text("max-message-size = 2048")
    options = ("--store", f"sqlite:///{folder}/", "--config", str(config))
    with (
        systemd.socket,
        crew(*options, "--log-level", "info", NOTIFY_SOCKET=systemd.name) as (process, url),
    ):
        assert systemd.hear() == [f"STATUS=opening sqlite:///{folder}/"]
        status = f"STATUS=listening on {url}"
        assert systemd.hear() == ["READY=1", status]
        errors = iter(process.stderr or ())
        workers = children(process.pid)
        assert sorted(workers) == [0, 1, 2]
        assert sorted(one.name for one in folder.glob("*.sqlite3")) == [
            f"shard-{number}.sqlite3" for number in range(3)
        ]

        # Whoever accepts them, and before and after any of them has it, each is one gathering.
        seqs: dict[str, list[int]] = {room: [] for room in ROOMS}

        async def client(room: str) -> None:
            seqs[room] += await say_something(url, room)

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(client, ROOMS[number % len(ROOMS)])
        for found in seqs.values():
            assert sorted(found) == list(range(1, len(found) + 1))
        assert sum(map(len, seqs.values())) == 50

        # One is killed. Its gatherings come back with it, and nobody else has noticed.
        lost = shard_of(ROOMS[0], 3)
        other = next(room for room in ROOMS if shard_of(room, 3) != lost)
        with RawClient(f"{url}/gatherings/{other}") as unconcerned:
            unconcerned.say(type="join")
            assert unconcerned.hear()["type"] == "joined"
            os.kill(workers[lost], signal.SIGKILL)
            assert await say_in_the_end(url, ROOMS[0]) == [len(seqs[ROOMS[0]]) + 1]
            unconcerned.say(type="fetch", id="f")
            assert unconcerned.hear()["type"] == "fetched"
        again = children(process.pid)
        assert again.keys() == workers.keys()
        assert {number for number in workers if again[number] != workers[number]} == {lost}
        line = next(line for line in errors if "is started again" in line)
        assert f"worker={lost} " in line
        assert "how=SIGKILL" in line

        # All of them read again what the first process was told to.
        config.write_text("max-message-size = 1024")
        process.send_signal(signal.SIGHUP)
        reloaded = Counter[str]()
        while sum(reloaded.values()) < 3:
            line = next(errors)
            if "event=reloaded" in line:
                reloaded[line.partition("worker=")[2][0]] += 1
        assert reloaded == {"0": 1, "1": 1, "2": 1}
        # It's one reload to systemd, and over when it is for all.
        assert systemd.hear()[0] == "RELOADING=1"
        assert systemd.hear() == ["READY=1", status]

        # An upgrade is refused, and changes nothing.
        process.send_signal(signal.SIGUSR2)
        assert "can't be upgraded" in next(line for line in errors if "not upgraded" in line)

        with RawClient(f"{url}/gatherings/{ROOMS[1]}") as last:
            last.say(type="join")
            assert last.hear()["type"] == "joined"
            process.send_signal(signal.SIGTERM)
            assert systemd.hear()[0] == "STOPPING=1"
            assert last.hear()["reason"] == "shutdown"
            assert last.end().code == 1001
        assert process.wait(PATIENCE) == 0
        assert not any(map(is_there, again.values()))


async def test_workers_that_nobody_keeps_end(tmp_path: Path) -> None:
    """Under TLS, and with an admin port for each."""
    certificate, key = write(tmp_path)
    token = tmp_path / "token"
    options = ("--tls-cert", str(certificate), "--tls-key", str(key), "--store", "memory:")
    admin = ("--admin-port", "0", "--admin-token-file", str(token))
    with crew(*options, *admin, workers=2) as (process, url):
        assert process.stdout is not None
        ports = [process.stdout.readline() for _ in range(2)]
        assert all(f"token in {token}" in line for line in ports), ports
        assert len(set(ports)) == 2
        workers = children(process.pid)
        async with open_client(url, ssl_context=trusting()) as client:
            for room in ROOMS:
                async with client.join(room) as gathering:
                    assert await gathering.submit({"n": 1}) == 1
        # Each was served by the worker that had accepted it, or by the one that it went to.
        routed = Counter[str]()
        for line in ports:
            routed += scrape(line.split()[4].removesuffix(","), token.read_text().strip())
        assert routed["here"] == len(ROOMS)
        assert routed["relayed"] <= len(ROOMS)
        process.kill()
        await trio.to_thread.run_sync(wait_gone, workers.values())


def test_a_store_that_one_of_them_cannot_open_is_told_once(tmp_path: Path) -> None:
    folder = tmp_path / "rooms"
    folder.mkdir()
    (folder / "shards.json").write_text('{"shards": 2, "hash": "rendezvous-blake2b-64"}')
    (folder / "shard-1.sqlite3").write_text("no database, but a long enough text to be read")
    with (
        pytest.raises(RuntimeError) as failed,
        crew("--store", f"sqlite:///{folder}/", workers=2),
    ):
        pass
    assert "shard-1.sqlite3" in str(failed.value)
    assert str(failed.value).count("squire_gatherings: error: ") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--store", "sqlite:///rooms.sqlite3"), "name a folder, --store sqlite:///FOLDER/"),
        (("--store", "memory:", "--admin-port", "65534"), "there aren't 3 from 65534 on"),
        (("--store", "sqlite:///rooms/"), "rooms: has 2 shards, and each worker serves one"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    (tmp_path / "rooms").mkdir()
    (tmp_path / "rooms" / "shards.json").write_text(
        '{"shards": 2, "hash": "rendezvous-blake2b-64"}'
    )
    code, out, err = run_here("serve", "--port", "0", "--workers", "3", *options, cwd=tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith("squire_gatherings: error: ")
    assert err.count("\n") == 1
    assert said in err


def test_a_signal_to_every_process_is_one_and_a_second_one_ends_all_at_once(
    tmp_path: Path,
) -> None:
    """systemd sends the first to each of them; who is impatient sends the second."""
    options = ("--store", "memory:", "--close-grace", "30s", "--log-level", "info")
    with crew(*options, workers=2) as (process, url):
        workers = children(process.pid)
        with RawClient(f"{url}/gatherings/room") as client:
            client.say(type="join")
            assert client.hear()["type"] == "joined"
            # Before and after each worker is told by the one that keeps it.
            for pid in (process.pid, *workers.values()):
                os.kill(pid, signal.SIGTERM)
            # Two signals at once are one.
            errors = iter(process.stderr or ())
            assert any("event=stopping logger=" in line for line in errors)
            # It answers no close frame: the server waits for that.
            assert client.hear()["reason"] == "shutdown"
            assert client.hear_close().code == 1001
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 128 + signal.SIGTERM
            wait_gone(workers.values())


def test_commands_find_the_shard_of_a_gathering(tmp_path: Path) -> None:
    """And put no log where nobody looks for it."""
    single = f"sqlite:///{tmp_path}/single/"
    with serving("--store", single, "--workers", "1") as (process, url):
        trio.run(say_something, url, "room-0", 3)
        process.terminate()
        assert process.wait() == 0
    (tmp_path / "rooms").mkdir()
    (tmp_path / "rooms" / "shards.json").write_text(
        '{"shards": 3, "hash": "rendezvous-blake2b-64"}'
    )
    for number in range(3):
        run_here("backup", f"{single}shard-0.sqlite3", f"{tmp_path}/rooms/shard-{number}.sqlite3")
        run_here("delete", f"{tmp_path}/rooms/shard-{number}.sqlite3", "room-0", "--yes")
    log = tmp_path / "log.jsonl"
    assert run_here("export", single, "room-0", str(log))[0] == 0
    # `printf 0/room-0 | b2sum -l 64`, and with 1 and 2: that of 2 is largest.
    folder, right = f"sqlite:///{tmp_path}/rooms/", tmp_path / "rooms" / "shard-2.sqlite3"
    options = (str(log), "--as", "room-0", "--even-if-deleted")
    wrong = run_here("import", str(right).replace("-2", "-1"), *options)
    assert wrong[0] == 2
    assert "isn't where room-0 belongs: shard-2.sqlite3 is" in wrong[2]
    assert run_here("import", folder, *options)[0] == 0
    assert run_here("show", folder, "room-0") == run_here("show", str(right), "room-0")
    elsewhere = next(room for room in ROOMS if shard_of(room, 3) != 2)
    assert run_here("fork", folder, "room-0", elsewhere)[0] == 2
    code, _, err = run_here("list", folder)
    assert code == 2
    assert "has 3 shards: name one of its files" in err
    assert "isn't a folder of shards" in run_here("show", f"{tmp_path}/", "room-0")[2]
