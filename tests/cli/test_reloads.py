"""Reloads: all that can be changed changes at once, or nothing does."""

import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path

import click
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from squire_gatherings import BadSetting, Hall, open_hall
from squire_gatherings._cli.reloads import Reloads, TakeOver, read_setup
from squire_gatherings._cli.serve import serve
from squire_gatherings._cli.setup import Current, make_setup
from squire_gatherings._server import Server
from tests.server.certificates import write


def nothing() -> None:
    pass


async def test_what_fails_is_logged_and_nothing_is_taken_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    token = trio.lowlevel.current_trio_token()
    read, taken = trio.Event(), trio.Event()
    errors = [BadSetting("key.pem: is empty"), click.UsageError("a.toml: no"), ZeroDivisionError()]

    def broken() -> TakeOver:
        token.run_sync_soon(read.set)
        if errors:
            raise errors.pop(0)
        return take

    def take() -> Mapping[str, object]:
        taken.set()
        return {"options": "host"}

    async with trio.open_nursery() as nursery:
        reloads = Reloads([broken])
        nursery.start_soon(reloads.run)
        for _ in range(4):
            read = trio.Event()
            assert not taken.is_set()
            reloads.ask()
            await read.wait()
            await wait_all_tasks_blocked()
        await taken.wait()
        nursery.cancel_scope.cancel()
    first, second, third, last = (one for one in caplog.records if "reload" in one.name)
    assert first.getMessage() == "can't reload, and go on with what was there"
    assert first.__dict__["why"] == "key.pem: is empty"
    assert second.__dict__["why"] == "a.toml: no"
    assert third.exc_info is not None
    assert (last.getMessage(), last.__dict__["options"]) == ("reloaded", "host")
    actions = [vars(one) for one in caplog.records if one.name == "squire_gatherings.audit"]
    assert [one["outcome"] for one in actions] == ["failed", "failed", "failed", "done"]
    assert actions[-1]["target"] == "options: host"


async def test_asked_meanwhile_it_reads_once_more() -> None:
    go, calls = threading.Event(), 0
    begun, again = trio.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()

    def slow() -> TakeOver:
        nonlocal calls
        calls += 1
        token.run_sync_soon(begun.set if calls == 1 else again.set)
        go.wait()
        return nothing

    async with trio.open_nursery() as nursery:
        reloads = Reloads([slow])
        nursery.start_soon(reloads.run)
        reloads.ask()
        await begun.wait()
        for _ in range(5):
            reloads.ask()
        go.set()
        await again.wait()
        await wait_all_tasks_blocked()
        assert calls == 2
        nursery.cancel_scope.cancel()


async def test_a_file_that_never_comes_holds_nobody_up() -> None:
    begun, go = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    def stuck() -> TakeOver:
        token.run_sync_soon(begun.set)
        go.wait()
        return nothing

    async with trio.open_nursery() as nursery:
        reloads = Reloads([stuck])
        nursery.start_soon(reloads.run)
        reloads.ask()
        await begun.wait()
        nursery.cancel_scope.cancel()
    go.set()


# What a server takes over.


class Serving:
    """A server as `serve` has it, but for its sockets; its file can be changed."""

    def __init__(self, hall: Hall, file: Path, *arguments: str) -> None:
        self.context = serve.make_context("serve", ["--config", str(file), *arguments])
        self.current = Current(make_setup(self.context.params, None))
        self.hall, self.file = hall, file
        self.server = Server((), (), settings=self.current.setup.server)

    def reload(self, text: str | None = None) -> Mapping[str, object] | None:
        if text is not None:
            self.file.write_text(text)
        return read_setup(self.context, None, self.current, self.hall, self.server)()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "squire.toml"
    path.write_text("max-connections = 5")
    return path


async def test_a_running_server_takes_over_what_it_can(file: Path) -> None:
    async with open_hall() as hall:
        one = Serving(hall, file)
        told = one.reload(
            """
            idle-timeout = "2h"
            max-gatherings = 7
            max-memory = "1MiB"
            max-connections-per-user = 3
            rate-limit = 10
            allow-origin = ["https://example.com"]
            log-level = "warning"
            proxy = ["10.0.0.1"]
            """
        )
        assert told is not None
        assert told["options"] == (
            "allow-origin,idle-timeout,max-connections,max-connections-per-user,max-gatherings,"
            "max-memory,proxy,rate-limit"
        )
        assert (hall.settings.idle_timeout, hall.settings.max_gatherings) == (7200, 7)
        assert hall.settings.max_connections_per_user == 3
        server = one.server.settings
        # What the file doesn't set any more is the default again.
        assert (server.rate_limit, server.max_connections) == (10, 100_000)
        assert server.allow_origins == ("https://example.com",)
        assert server.proxies.named("10.0.0.1")
        assert one.reload() == {"options": ""}


async def test_a_broken_file_changes_nothing(file: Path) -> None:
    async with open_hall() as hall:
        one = Serving(hall, file)
        before = one.current.setup, hall.settings, one.server.settings
        for wrong in (
            "idle-timeout = '1h'\nmax-connection = 5",
            "idle-timeout = '1h'\nmax-connections = 0",
            "idle-timeout = '1h'\njwt-key = ['missing']",
            "idle-timeout = '1h'\nauth = 'jwt'",
            "idle-timeout = '1h'\nhost = '0.0.0.0'",
            "idle-timeout = '1h'\ntls-cert = 'missing'",
            "idle-timeout = '1h'\n[",
        ):
            with pytest.raises((BadSetting, click.ClickException)):
                one.reload(wrong)
            after = one.current.setup, hall.settings, one.server.settings
            assert all(a is b for a, b in zip(before, after, strict=True))
        os.remove(file)
        with pytest.raises(click.ClickException, match="can't be read"):
            one.reload()


async def test_what_needs_a_restart_is_named_and_stays(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_hall() as hall:
        one = Serving(hall, file)
        text = """
            port = 1
            store = "memory:"
            ping-interval = "1s"
            when-full = "stalest"
            max-gatherings = 7
        """
        told = one.reload(text)
        assert told == {"options": "max-connections,max-gatherings"}
        [record] = caplog.records
        assert record.levelname == "WARNING"
        assert record.getMessage() == "a restart is needed for some options"
        assert record.__dict__["options"] == "ping-interval,port,store,when-full"
        assert (hall.settings.max_gatherings, hall.settings.when_full) == (7, "refuse")
        assert one.server.settings.ping_interval == 20
        # It is said again at each reload, until there is a restart.
        one.reload(text)
        assert len(caplog.records) == 2


async def test_tls_is_not_switched_on_or_off(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = write(tmp_path)
    files = f"tls-cert = '{certificate}'\ntls-key = '{key}'"
    async with open_hall() as hall:
        one = Serving(hall, file)
        one.reload(files)
        assert (one.current.setup.certificate, one.current.ssl_context) == (None, None)
        assert caplog.records[-1].__dict__["options"] == "tls-cert,tls-key"
        # The file says so since the last line: this server begins with TLS.
        one = Serving(hall, file)
        before = one.current.setup.certificate
        one.reload("")
        assert caplog.records[-1].__dict__["options"] == "tls-cert,tls-key"
        # The certificate was read again all the same.
        assert one.current.setup.certificate not in (None, before)


async def test_the_command_line_still_comes_first(file: Path) -> None:
    async with open_hall() as hall:
        one = Serving(hall, file, "--idle-timeout", "3h")
        assert one.reload("idle-timeout = '1h'") == {"options": "max-connections"}
        assert one.current.setup.hall.idle_timeout == 3 * 3600


LOGGER = "squire_gatherings._cli.reloads"


async def test_the_audit_log_is_opened_again_whatever_comes_of_the_rest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reopened: list[bool] = []
    logged = trio.Event()

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.__dict__["why"] == "nonsense":
                logged.set()

    def reopen() -> None:
        reopened.append(True)
        raise BadSetting("the folder is gone")

    def broken() -> TakeOver:
        raise BadSetting("nonsense")

    heard = Heard()
    logging.getLogger(LOGGER).addHandler(heard)
    try:
        async with trio.open_nursery() as nursery:
            reloads = Reloads([broken], reopen)
            nursery.start_soon(reloads.run)
            reloads.ask()
            await logged.wait()
            nursery.cancel_scope.cancel()
    finally:
        logging.getLogger(LOGGER).removeHandler(heard)
    assert reopened
    first, second, *_ = caplog.records
    assert (first.getMessage(), first.__dict__["why"]) == (
        "the audit log stays the old file",
        "the folder is gone",
    )
    assert second.__dict__["why"] == "nonsense"
