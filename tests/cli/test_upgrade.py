"""`upgrade` and SIGUSR2: a new process goes on with everything, and no client notices."""

import json
import os
import signal
import socket
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from squire_gatherings import open_hall
from squire_gatherings._cli.environment import TAKE_OVER
from squire_gatherings._cli.upgrades import Upgrades
from squire_gatherings._server.serving import Serving
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._stores.sqlite.locks import owner_of
from squire_gatherings.client import open_client
from tests.cli.admin_server import ADMIN
from tests.cli.process import PATIENCE, run_here, serving
from tests.edges.wire import CLOSE, Wire, frame
from tests.events.telling import check
from tests.server.certificates import trusting, write
from tests.server.raw import RawClient
from tests.support import examples, logged
from tests.webhook.receiver import SECRET, receiving


@contextmanager
def upgradable(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str, Path]]:
    """Serve a file; end whichever process has it at the end."""
    path = folder / "rooms.sqlite3"
    with serving("--store", f"sqlite:///{path}", *options) as (process, url):
        try:
            yield process, url, path
        finally:
            owner = owner_of(path)
            if owner is not None:
                os.kill(owner[0], signal.SIGKILL)


def upgraded(path: Path) -> dict[str, Any]:
    patience = ("--timeout", f"{PATIENCE:g}s")
    code, out, err = run_here("upgrade", "--store", str(path), "--json", *patience)
    assert (code, err) == (0, ""), out
    said: dict[str, Any] = json.loads(out)
    return said


def stop(path: Path, number: int) -> None:
    """Stop the process that has the file, which isn't our child, and wait for its end."""
    os.kill(number, signal.SIGTERM)
    wait_for_the_end(path)


def wait_for_the_end(path: Path) -> None:
    """Wait until no process has the file."""
    until = time.monotonic() + PATIENCE
    while owner_of(path) is not None:
        assert time.monotonic() < until
        time.sleep(0.01)


async def test_under_load(tmp_path: Path) -> None:
    """Clients of two kinds submit all the time: each op is there once, and nobody is closed.

    One waits in a gathering that sleeps, and wakes it in the end.
    """
    times = examples(2)
    submitted: list[int] = []
    is_over = False
    done, more = trio.open_memory_channel[None](0)
    options = "--retry-limit", "120s", "--sleep-after", "100ms"
    with (
        upgradable(tmp_path, *options) as (process, url, path),
        RawClient(f"{url}/gatherings/quiet") as waiting,
    ):
        waiting.socket.settimeout(PATIENCE)
        waiting.say(type="join")
        incarnation = waiting.hear()["incarnation"]

        async def submit(gathering: str) -> None:
            nonlocal is_over
            async with open_client(url) as client, client.join(gathering) as joined:
                while not is_over:
                    # Those of both clients are in one log.
                    submitted.append(await joined.submit({"text": "x" * 100}))
                    with suppress(trio.WouldBlock):
                        done.send_nowait(None)

        def stay() -> None:
            with RawClient(f"{url}/gatherings/busy") as raw:
                raw.socket.settimeout(PATIENCE)
                raw.say(type="join", tail=True)
                joined = raw.hear()
                seq = joined["seq"]
                while not is_over:
                    message = raw.hear()
                    if message["type"] == "forward":
                        # In order and without a hole; what isn't acknowledged comes again.
                        last = message["seq"] + len(message.get("ops", [0])) - 1
                        assert message["seq"] <= seq + 1
                        seq = max(seq, last)
                        raw.say(type="ack", seq=seq)
                raw.say(type="fetch", id="end")
                while (message := raw.hear())["type"] != "fetched":
                    pass

        numbers = [process.pid]
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(submit, "busy")
            nursery.start_soon(trio.to_thread.run_sync, stay)
            for _ in range(times):
                said = await trio.to_thread.run_sync(upgraded, path)
                assert said["from"] == numbers[-1]
                numbers.append(said["to"])
                for _ in range(10):
                    await more.receive()
            is_over = True
            # Somebody who comes now meets the last of them.
            async with open_client(url) as client, client.join("busy") as joined:
                await joined.submit({"last": True})
        waiting.say(type="sync", id="awake", base=0, ops=[{"n": 1}])
        assert waiting.hear()["seqs"] == [1]
        with RawClient(f"{url}/gatherings/quiet") as late:
            late.say(type="join")
            assert late.hear()["incarnation"] == incarnation
        assert sorted(submitted) == list(range(1, len(submitted) + 1))
        assert await trio.to_thread.run_sync(process.wait) == 0
        await trio.to_thread.run_sync(stop, path, numbers[-1])
        assert len(set(numbers)) == times + 1
    code, out, _ = run_here("verify", str(path), "--json")
    assert code == 0, out


def test_a_new_process_that_fails_leaves_the_old_one_going_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there's systemd, it is told which process it is."""
    configuration = tmp_path / "squire.toml"
    configuration.write_text('idle-timeout = "1h"\n')
    options = ("--config", str(configuration), "--audit-log", str(tmp_path / "audit"))
    with (
        a_systemd(tmp_path, monkeypatch) as systemd,
        upgradable(tmp_path, *options) as (process, url, path),
        RawClient(f"{url}/gatherings/one") as client,
    ):
        client.say(type="join")
        assert client.hear()["type"] == "joined"
        configuration.write_text('idle-timeout = "nonsense"\n')
        code, out, err = run_here("upgrade", "--store", str(path))
        assert (code, out) == (1, "")
        assert err.startswith("squire_gatherings: error: not upgraded: "), err
        assert "idle-timeout" in err
        assert "nonsense" in err
        client.say(type="sync", id="1", base=0, ops=[{"n": 1}])
        assert client.hear()["type"] == "synced"
        # What was wrong is mended.
        configuration.write_text('idle-timeout = "2h"\n')
        process.send_signal(signal.SIGUSR2)
        said: list[tuple[int, list[str]]] = []
        while not said or not said[-1][1][0].startswith("MAINPID="):
            said.append(heard(systemd))
        number, (main, sign) = said[-1]
        successor = int(main.removeprefix("MAINPID="))
        # The old one gives a last sign of life, and from then on the new one does.
        assert (number, sign) == (process.pid, "WATCHDOG=1")
        assert successor != process.pid
        while (later := heard(systemd)) != (successor, ["WATCHDOG=1"]):
            said.append(later)
        client.say(type="fetch", id="2")
        assert client.hear()["type"] == "fetched"
        assert process.wait(PATIENCE) == 0
        # The server hasn't stopped.
        assert not [lines for _, lines in said if "STOPPING=1" in lines]
        os.kill(successor, signal.SIGTERM)
        assert client.hear()["reason"] == "shutdown"
        client.end()
        wait_for_the_end(path)
    done = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
    assert [(one["action"], one["target"], one["outcome"]) for one in done] == [
        ("start", url, "done"),
        ("upgrade", "", "failed"),
        ("upgrade", f"process {successor}", "done"),
        ("stop", url, "done"),
    ]


def test_the_admin_port_goes_along_unless_it_is_another(tmp_path: Path) -> None:
    """Nobody who asks it is turned away, also in the moment after the upgrade."""
    configuration, token = tmp_path / "squire.toml", tmp_path / "token"
    configuration.write_text("admin-port = 0\n")
    options = ("--config", str(configuration), "--admin-token-file", str(token))
    with upgradable(tmp_path, *options) as (process, _, path):
        assert process.stdout is not None
        admin = process.stdout.readline().removeprefix(ADMIN).partition(",")[0]
        is_over, failures = threading.Event(), list[str]()
        # It is on this machine: no proxy is asked.
        to_it = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def ask() -> None:
            while not is_over.wait(0.001):
                try:
                    to_it.open(f"{admin}/healthz", timeout=PATIENCE).close()
                except urllib.error.URLError as error:
                    failures.append(str(error.reason))
                except OSError:
                    # It was asked, and ended before its answer.
                    continue

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            numbers = [upgraded(path)["to"] for _ in range(2)]
        finally:
            is_over.set()
            asking.join()
        assert not failures
        to_it.open(f"{admin}/readyz", timeout=PATIENCE).close()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        configuration.write_text(f"admin-port = {port}\n")
        upgraded(path)
        until = time.monotonic() + PATIENCE
        while True:
            try:
                to_it.open(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE).close()
                break
            except urllib.error.URLError:
                assert time.monotonic() < until
        with pytest.raises(urllib.error.URLError):
            to_it.open(f"{admin}/healthz", timeout=PATIENCE)
        assert len(set(numbers)) == 2


@contextmanager
def a_systemd(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket of a systemd that wants signs of life."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        systemd.bind(str(folder / "notify"))
        systemd.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "2000000")
        yield systemd


def heard(systemd: socket.socket) -> tuple[int, list[str]]:
    """Return the next message to systemd, and the number of the process that has sent it."""
    said, [(_, _, credentials)], _, _ = systemd.recvmsg(4096, socket.CMSG_SPACE(12))
    return struct.unpack("iII", credentials)[0], said.decode().split("\n")


def test_tls_clients_come_back_and_events_go_on(tmp_path: Path) -> None:
    """Under TLS the notice is `shutdown`; what is told of gatherings goes on, in order."""
    certificate, key = write(tmp_path)
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text(SECRET + "\n")
    options = ["--tls-cert", str(certificate), "--tls-key", str(key)]
    options += ["--webhook-secret-file", str(secret)]
    with receiving() as receiver:
        options += ["--webhook", receiver.url]
        with upgradable(tmp_path, *options) as (process, url, path):
            incarnations: list[str] = []
            with Wire(url, context=trusting()) as wire:
                incarnations.append(wire.join("one")["incarnation"])
                wire.say(type="sync", id="1", base=0, ops=[{"n": 1}])
                assert wire.hear()["seqs"] == [1]
                receiver.wait_for(2)
                # It takes its time: what it is being told when the upgrade comes is told once.
                receiver.delay = 0.2
                with Wire(url, context=trusting()) as other:
                    other.join("two")
                said = upgraded(path)
                notice = wire.hear()
                assert (notice["type"], notice["reason"]) == ("dispersed", "shutdown")
                closing = wire.next()
                assert closing == (CLOSE, b"\x03\xe9" + closing[1][2:])
                wire.send(frame(CLOSE, b"\x03\xe9"))
                # Without a close_notify this would be an `SSLError`.
                with pytest.raises(EOFError):
                    wire.next()
            with Wire(url, context=trusting()) as wire:
                joined = wire.join("one")
                incarnations.append(joined["incarnation"])
                assert joined["seq"] == 1
            process.wait(PATIENCE)
            stop(path, said["to"])
            assert notice["incarnation"] == incarnations[0] == incarnations[1]
        receiver.wait_for(9)
        check(receiver.taken, all_ended=True)
        numbers = [event.number for event in receiver.taken]
        assert numbers == list(range(1, len(numbers) + 1))
        kinds = [str(event.kind) for event in receiver.taken if event.gathering == "one"]
        assert kinds == ["opened", "joined_first", "emptied", "emptied", "dispersed"]


async def test_a_store_in_memory_stays_where_it_is(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    async with open_hall(store=store) as hall, trio.open_nursery() as nursery:
        upgrades = Upgrades(hall, Serving((), ()), store)
        nursery.start_soon(upgrades.run)
        upgrades.ask()
        await trio.testing.wait_all_tasks_blocked()
        assert not upgrades.done.is_set()
        nursery.cancel_scope.cancel()
    assert "a store in memory can't be handed on" in logged(caplog)


def test_without_a_server(tmp_path: Path) -> None:
    code, out, err = run_here("upgrade", "--store", str(tmp_path / "rooms.sqlite3"))
    assert (code, out) == (2, "")
    assert err == f"squire_gatherings: error: no server has {tmp_path}/rooms.sqlite3\n"


def test_the_variable_is_for_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TAKE_OVER, "nonsense")
    code, out, err = run_here("serve", "--store", "memory:")
    assert (code, out) == (2, "")
    assert err == f"squire_gatherings: error: {TAKE_OVER} is for `upgrade` alone\n"
