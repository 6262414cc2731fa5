"""Reloads: one after the other in a thread, even if some fail."""

import logging
import threading

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from squire_gatherings import BadSetting
from squire_gatherings._cli.reloads import Reloads


async def test_what_fails_is_logged_and_the_others_are_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    read = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def broken() -> None:
        raise BadSetting("key.pem: is empty")

    def buggy() -> None:
        raise ZeroDivisionError

    async with trio.open_nursery() as nursery:
        reloads = Reloads([broken, buggy, lambda: token.run_sync_soon(read.set)])
        nursery.start_soon(reloads.run)
        reloads.ask()
        await read.wait()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    first, second, last = caplog.records
    assert first.getMessage() == ("can't reload, and go on with what was there: key.pem: is empty")
    assert second.exc_info is not None
    assert (last.__dict__["read"], last.__dict__["failed"]) == (1, 2)


async def test_asked_meanwhile_it_reads_once_more() -> None:
    go, calls = threading.Event(), 0
    begun, again = trio.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()

    def slow() -> None:
        nonlocal calls
        calls += 1
        token.run_sync_soon(begun.set if calls == 1 else again.set)
        go.wait()

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

    def stuck() -> None:
        token.run_sync_soon(begun.set)
        go.wait()

    async with trio.open_nursery() as nursery:
        reloads = Reloads([stuck])
        nursery.start_soon(reloads.run)
        reloads.ask()
        await begun.wait()
        nursery.cancel_scope.cancel()
    go.set()
