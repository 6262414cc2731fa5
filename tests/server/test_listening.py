"""Listening: on which addresses, with which troubles, and how it ends."""

import errno
import socket
from functools import partial
from typing import Any

import pytest
import trio

from squire_gatherings import Server, open_hall, serve
from tests.server.raw import RawClient
from tests.server.test_server import a_server, in_thread


async def test_cancelling_serve_says_goodbye() -> None:
    async with open_hall() as hall, trio.open_nursery() as talking:
        joined = trio.Event()

        def talk(url: str) -> None:
            with RawClient(url) as client, RawClient(url) as newcomer:
                client.say(type="join")
                client.hear()
                trio.from_thread.run_sync(joined.set)
                assert client.hear_close().code == 1001
                assert newcomer.hear_close().code == 1001

        async with trio.open_nursery() as nursery:
            server: Server = await nursery.start(partial(serve, hall, host="127.0.0.1", port=0))
            host, port = server.addresses[0]
            url = f"ws://{host}:{port}/gatherings/room"
            talking.start_soon(trio.to_thread.run_sync, talk, url)
            await joined.wait()
            nursery.cancel_scope.cancel()
        assert server.connections == 0
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((host, port))


async def test_stopping_while_a_client_connects_raises_nothing() -> None:
    """A listener may become readable, and then be closed before its task gets a turn."""
    for _ in range(30):
        async with open_hall() as hall, trio.open_nursery() as nursery:
            server: Server = await nursery.start(partial(serve, hall, host="127.0.0.1", port=0))
            ours, theirs = socket.socketpair()
            with ours, theirs, socket.socket() as client:

                async def stop_when_told(told: socket.socket = theirs) -> None:
                    await trio.lowlevel.wait_readable(told)
                    server.stop_accepting()  # noqa: B023 (awaited in this round)

                async with trio.open_nursery() as stopping:
                    stopping.start_soon(stop_when_told)
                    await trio.testing.wait_all_tasks_blocked()
                    # Both are readable when Trio looks next, in either order.
                    client.connect(server.addresses[0])
                    ours.send(b"x")
            server.stop_accepting()
            nursery.cancel_scope.cancel()


async def test_addresses_that_the_machine_lacks_are_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name may have an IPv6 address on a machine without IPv6: the other address is served."""
    tcp = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    lacking = (socket.AF_INET, *tcp, ("192.0.2.1", 0))

    async def resolve(*_: object, **__: object) -> list[object]:
        return found

    monkeypatch.setattr(trio.socket, "getaddrinfo", resolve)
    async with open_hall() as hall, trio.open_nursery() as nursery:
        found: list[object] = [lacking, (socket.AF_INET, *tcp, ("127.0.0.1", 0))]
        server: Server = await nursery.start(partial(serve, hall, host="name", port=0))
        assert [host for host, _ in server.addresses] == ["127.0.0.1"]
        found = [lacking]
        with pytest.raises(OSError, match="Cannot assign"):
            await serve(hall, host="name", port=0)
        nursery.cancel_scope.cancel()


async def test_accepting_goes_on_after_trouble(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trouble = [errno.EMFILE, errno.ECONNABORTED, errno.ENFILE, errno.ENOMEM]

    class Troubled(socket.socket):
        def accept(self) -> tuple[socket.socket, Any]:
            if trouble:
                raise OSError(trouble.pop(), "trouble")
            return super().accept()

    monkeypatch.setattr(socket, "socket", Troubled)
    monkeypatch.setattr("squire_gatherings._server.accepting.ACCEPT_PAUSE", 0)
    async with a_server() as (_, _, url):

        def talk() -> None:
            with RawClient(f"{url}/gatherings/room") as client:
                client.say(type="join")
                assert client.hear()["type"] == "joined"

        await in_thread(talk)
    assert not trouble
    # It is logged once a minute, not each time.
    assert caplog.text.count("no connection can be accepted for now") == 1
