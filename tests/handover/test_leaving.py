"""A process that doesn't come up, or says no: the other one goes on as if nothing had been."""

import os
import socket
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from squire_gatherings import open_hall, serve
from squire_gatherings._hall.hall import Hall
from squire_gatherings._handover.channel import Channel, Ended
from squire_gatherings._handover.leaving import CalledOff, Leaving, Patience
from squire_gatherings._handover.messages import (
    Changes,
    Everything,
    Hello,
    Known,
    Message,
    Newcomers,
    Prepared,
    Property,
    Ready,
    Refused,
    Yours,
)
from squire_gatherings._server.serving import Serving
from squire_gatherings._stores import open_sqlite_store
from squire_gatherings._stores.sqlite.locks import owner_of
from squire_gatherings._stores.sqlite.store import SqliteStore
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.messages import Dispersed
from tests.server.raw import RawClient
from tests.support import Recorder

SHORT = Patience(start=0.2, rest=0.2, answer=0.2)
LONG = Patience(start=20, rest=20, answer=20)


class Peer:
    """The other process, played by a thread."""

    def __init__(self, one: socket.socket) -> None:
        self.channel = Channel(one)
        self.heard: list[Message] = []

    def hear(self, kind: type[Message]) -> None:
        message = self.channel.receive_now(20)
        self.heard.append(message)
        assert isinstance(message, kind), message

    def hear_everything(self) -> None:
        while not isinstance(message := self.channel.receive_now(20), Everything):
            assert isinstance(message, Newcomers | Changes)
            self.heard.append(message)
            if isinstance(message, Changes):
                self.say(Known())
        self.heard.append(message)

    def say(self, message: Message) -> None:
        self.channel.send_now(message, 20)

    def until_the_end(self) -> None:
        with suppress(Ended):
            while True:
                self.channel.receive_now(20)


def of_another_format(peer: Peer) -> None:
    peer.say(Hello(format=10_000, version="99"))


def silent(peer: Peer) -> None:
    peer.until_the_end()


def gone_at_once(peer: Peer) -> None:
    pass


def silent_after_hello(peer: Peer) -> None:
    peer.say(Hello())
    peer.hear(Property)
    peer.until_the_end()


def no_store(peer: Peer) -> None:
    peer.say(Hello())
    peer.hear(Property)
    peer.say(Refused("it has another schema"))


def gone_when_prepared(peer: Peer) -> None:
    peer.say(Hello())
    peer.hear(Property)
    peer.say(Prepared())


def silent_with_everything(peer: Peer) -> None:
    gone_when_prepared(peer)
    peer.hear_everything()
    peer.until_the_end()


def gone_with_everything(peer: Peer) -> None:
    gone_when_prepared(peer)
    peer.hear_everything()


def no_restore(peer: Peer) -> None:
    gone_with_everything(peer)
    peer.say(Refused("gathering friday-night can't be restored"))


def out_of_turn(peer: Peer) -> None:
    gone_with_everything(peer)
    peer.say(Hello())


class World:
    """A hall with a server and a client, which counts in it."""

    def __init__(self, hall: Hall, server: Serving, store: SqliteStore, client: RawClient) -> None:
        self.hall, self.server, self.store, self.client = hall, server, store, client
        self.count = 0

    async def hear(self) -> dict[str, Any]:
        return await trio.to_thread.run_sync(self.client.hear)

    async def submit(self) -> None:
        self.count += 1
        self.client.say(type="sync", id=str(self.count), base=0, ops=[{"n": self.count}])
        answer = await self.hear()
        assert (answer["type"], answer["seqs"]) == ("synced", [self.count])

    async def leave(self, play: Callable[[Peer], None], patience: Patience) -> tuple[int, Peer]:
        """Try to leave everything to a peer, which plays the other process."""
        ours, theirs = socket.socketpair()
        peer, failures = Peer(theirs), list[BaseException]()

        def run() -> None:
            try:
                play(peer)
            except BaseException as error:
                failures.append(error)
            finally:
                peer.channel.close()

        thread = threading.Thread(target=run)
        thread.start()
        channel = Channel(ours)
        try:
            return await Leaving(self.hall, self.server, self.store, channel, patience).run(), peer
        finally:
            channel.close()
            await trio.to_thread.run_sync(thread.join)
            assert not failures


async def a_world(stack: AsyncExitStack, path: Path) -> World:
    store = await stack.enter_async_context(open_sqlite_store(path))
    hall = await stack.enter_async_context(open_hall(store=store))
    nursery = await stack.enter_async_context(trio.open_nursery())
    stack.callback(nursery.cancel_scope.cancel)
    server = await nursery.start(partial(serve, hall, host="127.0.0.1", port=0))
    host, port = server.addresses[0]
    url = f"ws://{host}:{port}/gatherings/friday-night"
    client = stack.enter_context(await trio.to_thread.run_sync(RawClient, url))
    world = World(hall, server, store, client)
    client.say(type="join")
    await world.hear()
    await world.submit()
    return world


@pytest.mark.parametrize(
    ("play", "patience", "why"),
    [
        (of_another_format, LONG, "format 10000 of version 99"),
        (silent, SHORT, "didn't answer within"),
        (gone_at_once, LONG, "the other process has gone"),
        (silent_after_hello, SHORT, "didn't answer within"),
        (no_store, LONG, "it has another schema"),
        (gone_when_prepared, LONG, "gone|Broken pipe|reset"),
        (silent_with_everything, SHORT, "it took too long"),
        (gone_with_everything, LONG, "gone|Broken pipe|reset"),
        (no_restore, LONG, "friday-night can't be restored"),
        (out_of_turn, LONG, "it says Hello"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
async def test_it_goes_on_itself(
    play: Callable[[Peer], None], patience: Patience, why: str, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        world = await a_world(stack, tmp_path / "rooms.sqlite3")
        incarnation = world.hall.explain("friday-night").incarnation
        for _ in range(2):
            with pytest.raises(CalledOff, match=why):
                await world.leave(play, patience)
            await world.submit()
        assert world.hall.explain("friday-night").incarnation == incarnation
        # It takes newcomers, too.
        host, port = world.server.addresses[0]
        url = f"ws://{host}:{port}/gatherings/friday-night"
        with await trio.to_thread.run_sync(RawClient, url):
            pass


async def test_once_it_has_left_nothing_is_said_or_written(tmp_path: Path) -> None:
    def play(peer: Peer) -> None:
        gone_with_everything(peer)
        peer.say(Ready())
        peer.hear(Yours)

    path = tmp_path / "rooms.sqlite3"
    async with AsyncExitStack() as stack:
        world = await a_world(stack, path)
        # Who came by a foreign way, as ASGI, can't go along.
        foreign = Recorder()
        await world.hall.join("friday-night", foreign)
        number, peer = await world.leave(play, LONG)
        assert number == 1
        assert [notice.reason for notice in foreign.of(Dispersed)] == ["shutdown"]
        assert [code for _, code, _ in foreign.closed] == [CloseCode.GOING_AWAY]
        everything = peer.heard[-2]
        assert isinstance(everything, Everything)
        told = [said for said in peer.heard if isinstance(said, Changes)]
        rooms = [one for said in (*told, everything.changes) for one in said.rooms]
        for room in rooms:
            assert (room.id, room.seq, len(room.clients)) == ("friday-night", 1, 1)
        assert rooms
        with pytest.raises(StoreUnavailable):
            await world.hall.submit("friday-night", [{"n": 2}])
        await world.hall.close()
        await world.server.wait_empty()
        # All copies of its socket are closed here, and it was told nothing.
        assert world.client.socket.recv(1000) == b""
        owner = owner_of(path)
        assert owner is not None
        assert owner[0] == os.getpid()
    # The lock would be the other process's.
    assert (tmp_path / "rooms.sqlite3-lock").exists()
