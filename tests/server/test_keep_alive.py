"""The keep-alive: which clients are pinged, which are dropped, and when."""

import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked
from wsproto.frame_protocol import FrameProtocol, Opcode

from squire_gatherings import Server, ServerSettings, open_hall, serve, serve_stream
from squire_gatherings._server.outbox import Outbox
from squire_gatherings._server.pinging import keep_alive
from squire_gatherings._server.silence import MAX_CREDIT, ROUNDS, Due, Silence
from tests.server.raw import RawClient
from tests.server.test_hostile import request
from tests.server.test_timing import Client, a_client
from tests.support import Sum

PONG = bytes(FrameProtocol(client=True, extensions=[]).pong(b""))


async def test_the_first_ping_comes_after_one_interval(autojump_clock: MockClock) -> None:
    """This holds over a stream without a server of one's own, too."""
    async with open_hall() as hall, trio.open_nursery() as nursery:
        ours, theirs = memory_stream_pair()
        nursery.start_soon(serve_stream, hall, ours, ServerSettings(ping_interval=30))
        await theirs.send_all(request())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += await theirs.receive_some(1)
        client = Client(theirs)
        await client.say(type="join")
        await client.hear()
        start = trio.current_time()
        assert (await client.next())[0] is Opcode.PING
        assert 30 <= trio.current_time() - start <= 37.5
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("talks", ["pongs", "acks", "nothing"])
async def test_a_silence_in_either_direction_is_filled_by_pings(
    talks: str, autojump_clock: MockClock
) -> None:
    """A proxy cuts what is silent for a minute, in one direction as in both."""
    async with (
        open_hall() as hall,
        a_client(hall) as (client, server, _),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(keep_alive, server, 20.0)
        await client.say(type="join")
        await client.hear()

        async def talk() -> None:
            while talks == "acks":
                await trio.sleep(3)
                await client.say(type="ack", seq=0)
            while talks == "pongs":
                await trio.sleep(3)
                await client.pong(b"")

        nursery.start_soon(talk)
        for _ in range(10):
            start = trio.current_time()
            assert (await client.next())[0] is Opcode.PING
            assert 5 <= trio.current_time() - start <= 25
            if talks == "nothing":
                await client.pong(b"")
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("rounds_before", [4, 5, 6, 7])
async def test_a_pause_of_the_machine_drops_nobody(
    rounds_before: int, mock_clock: MockClock
) -> None:
    count = 20
    async with open_hall() as hall, trio.open_nursery() as nursery:
        server: Server = await nursery.start(partial(serve, hall, host="127.0.0.1", port=0))
        host, port = server.addresses[0]
        url = f"ws://{host}:{port}/gatherings/room"

        def connect() -> list[RawClient]:
            clients = [RawClient(url) for _ in range(count)]
            for client in clients:
                client.say(type="join")
                client.hear()
            return clients

        clients = await trio.to_thread.run_sync(connect)
        await wait_all_tasks_blocked()
        # There is one more round: that of the joins.
        for _ in range(1 + rounds_before):
            mock_clock.jump(5)
            await wait_all_tasks_blocked()
        # They answer while the server stands still.
        for client in clients:
            client.socket.sendall(PONG)
        mock_clock.jump(24)
        await wait_all_tasks_blocked()
        for _ in range(3):
            mock_clock.jump(5)
            await wait_all_tasks_blocked()
        assert server.connections == count
        # A client that answers nothing from now on is gone.
        for _ in range(6):
            mock_clock.jump(5)
            await wait_all_tasks_blocked()
        await server.wait_empty()
        for client in clients:
            client.socket.close()
        nursery.cancel_scope.cancel()


SERVER = """
import trio
from squire_gatherings import ServerSettings, open_hall, serve
async def main():
    async with open_hall() as hall, trio.open_nursery() as nursery:
        settings = ServerSettings(ping_interval=0.4)
        from functools import partial
        server = await nursery.start(
            partial(serve, hall, host="127.0.0.1", port=0, settings=settings)
        )
        print(server.addresses[0][1], flush=True)
trio.run(main)
"""


def test_a_process_that_is_stopped_drops_nobody() -> None:
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as run:
        try:
            assert run.stdout is not None
            port = int(run.stdout.readline())
            clients = [RawClient(f"ws://127.0.0.1:{port}/gatherings/room") for _ in range(20)]
            for client in clients:
                client.say(type="join")
                client.hear()
            for client in clients:
                assert client.socket.recv(2) == b"\x89\x00"
            os.kill(run.pid, signal.SIGSTOP)
            for client in clients:
                client.socket.sendall(PONG)
            time.sleep(1.5)
            os.kill(run.pid, signal.SIGCONT)
            for client in clients:
                client.say(type="fetch", id="1")
                assert client.hear()["id"] == "1"
                client.socket.close()
        finally:
            run.kill()


class Large(Sum):
    """A behaviour whose snapshot takes a minute at 200 KB/s."""

    def snapshot(self) -> Any:
        return {"pad": "x" * 12_000_000}


class SlowStream(trio.abc.SendStream):
    """A way out that delays everything by its size."""

    def __init__(self, out: trio.abc.SendStream) -> None:
        self.out = out

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.sleep(len(data) / 200_000)
        await self.out.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.out.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self.out.aclose()


async def test_a_client_whose_bytes_still_move_is_alive(autojump_clock: MockClock) -> None:
    """It can answer pings only after the snapshot."""
    ours, theirs = memory_stream_pair()
    slow: Any = trio.StapledStream(SlowStream(ours.send_stream), ours.receive_stream)
    async with (
        open_hall(behaviour=Large) as hall,
        a_client(hall, pair=(slow, theirs)) as (client, server, served),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(keep_alive, server, 20.0)
        start = trio.current_time()
        await client.say(type="join")
        size = 0
        while size < 12_000_000:
            size += len((await client.next())[1])
        assert trio.current_time() >= start + 60
        assert not served.is_set()
        # Now it's silent, so it counts as dead.
        await served.wait()
        assert trio.current_time() < start + 200
        nursery.cancel_scope.cancel()


# The rule by itself.


class Peer:
    """Tells a `Silence` its rounds, as a connection does."""

    def __init__(self) -> None:
        self.silence = Silence()
        self.progress = self.pings = 0

    def round(
        self, *, heard: bool = False, sent: int = 0, backlog: int = 0, ok: bool = True
    ) -> Due:
        self.silence.heard = self.silence.heard or heard
        self.progress += sent
        due = self.silence.round(self.progress, backlog, listened=ok)
        if due is Due.PING:
            self.pings += 1
            self.progress += 2
        return due


@given(st.lists(st.booleans(), max_size=80))
def test_a_peer_ends_only_an_interval_after_a_ping(plan: list[bool]) -> None:
    peer, since_heard, since_ping = Peer(), 0, 10**6
    for heard in plan:
        due = peer.round(heard=heard)
        since_heard = 0 if heard else since_heard + 1
        since_ping += 1
        if due is Due.END:
            assert since_heard >= 2 * ROUNDS
            assert since_ping >= ROUNDS
            return
        assert since_heard <= 2 * ROUNDS
        if due is Due.PING:
            since_ping = 0
        assert since_ping <= ROUNDS or peer.pings == 0


def test_a_client_that_cannot_be_heard_is_pinged_and_not_ended() -> None:
    peer = Peer()
    assert Due.END not in [peer.round(ok=False) for _ in range(100)]
    assert peer.pings >= 20


def test_a_moving_backlog_keeps_a_client_alive_and_for_some_time_after() -> None:
    peer = Peer()
    assert {peer.round(sent=100, backlog=1) for _ in range(100)} == {Due.NOTHING}
    silent = 0
    while peer.round() is not Due.END:
        silent += 1
    assert silent >= MAX_CREDIT + 2 * ROUNDS - 2
    # Bytes that go out at once tell nothing: the kernel takes them even if the peer is dead.
    peer, rounds = Peer(), 0
    while peer.round(sent=100) is not Due.END:
        rounds += 1
    assert rounds <= 2 * ROUNDS


async def test_progress_is_what_went_out() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        ours.setblocking(False)
        async with trio.open_nursery() as nursery:
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours.dup()))
            outbox = Outbox(stream, ours.send, nursery, 10**6, lambda: None, lambda: None)
            outbox.write(b"a" * 100)
            assert (outbox.progress, outbox.backlog) == (100, 0)
            outbox.write(b"b" * 500_000)
            assert outbox.progress + outbox.backlog == 500_100
            assert outbox.backlog
            theirs.setblocking(False)
            seen = {outbox.backlog}
            got = 0
            while got < 500_100:
                try:
                    got += len(theirs.recv(50_000))
                except BlockingIOError:
                    await wait_all_tasks_blocked()
                assert outbox.progress + outbox.backlog == 500_100
                seen.add(outbox.backlog)
            await outbox.flushed()
            assert outbox.progress == 500_100
            # The bytes were seen to move before their end.
            assert len(seen) > 5
            await stream.aclose()
