"""Passing on: whichever process a client reaches, the one that has its gathering serves it."""

import gc
import socket
from pathlib import Path

import pytest
import trio
import trio.testing

from squire_gatherings import Proxies, ProxySays, ServerSettings
from squire_gatherings._cluster.passing import PATIENCE, UNDER_WAY
from squire_gatherings._cluster.private import listen_privately
from squire_gatherings._server.elsewhere import Beginning
from squire_gatherings._server.tls import Certificate
from squire_gatherings._values.nodes import Node
from squire_gatherings.client import open_client
from tests.cluster.nodes import RunningNode, nodes, owned_by
from tests.server.attacks import served
from tests.server.certificates import trusting, write
from tests.server.test_hostile import HEADERS
from tests.server.test_server import exchange


def places(node: RunningNode) -> tuple[int, int, int, int]:
    """Return what clients take of a node: at the door, as connections, as clients, and memory."""
    numbers = node.server.numbers()
    return numbers.handshakes, numbers.connections, numbers.clients, numbers.memory


async def are(expected: tuple[int, int, int, int], *running: RunningNode) -> None:
    """Wait until that is what clients take of nodes."""
    with trio.move_on_after(5):
        while any(places(node) != expected for node in running):
            await trio.testing.wait_all_tasks_blocked(0.001)
    assert [places(node) for node in running] == [expected for _ in running]


JOIN = b'\x81\x8f\0\0\0\0{"type":"join"}'


def request(room: str, *headers: bytes) -> bytes:
    lines = [f"GET /gatherings/{room} HTTP/1.1".encode(), *HEADERS, *headers, b"", b""]
    return b"\r\n".join(lines)


async def connected(node: RunningNode) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", node.server.addresses[0][1])


async def until_joined(stream: trio.abc.Stream) -> bytes:
    got = bytearray()
    while b'"joined"' not in got:
        got += await stream.receive_some()
    return bytes(got)


async def test_a_client_of_another_process_is_served_there_as_if_it_had_come_there(
    tmp_path: Path,
) -> None:
    async with nodes(tmp_path) as (one, other):
        before = places(one)
        room = owned_by(1, 2)
        async with open_client(one.url) as client, client.join(room) as gathering:
            assert await gathering.submit({"n": 1}) == 1
            assert [found.gathering for found in other.hall.snapshot().gatherings] == [room]
            assert (
                other.server.connections
                == other.intake.taken
                == one.router.tally.routed["passed_on"]
                == 1
            )
            # Nothing of it is left where it came, and it was refused nowhere.
            await are(before, one)
            assert not one.server.numbers().refused
            assert not other.server.numbers().refused


async def test_what_comes_with_the_request_and_piece_by_piece_goes_along(tmp_path: Path) -> None:
    async with nodes(tmp_path) as (one, other), await connected(one) as stream:
        said = request(owned_by(1, 2)) + JOIN
        for piece in (said[:7], said[7:-5], said[-5:]):
            await stream.send_all(piece)
            await trio.testing.wait_all_tasks_blocked(0.001)
        assert (await until_joined(stream)).startswith(b"HTTP/1.1 101 ")
        assert other.server.connections == 1
        # A connection that lives for days doesn't keep what was said before.
        kept = [one for one in gc.get_objects() if type(one) is Beginning and one.said]
        assert kept == []


@pytest.mark.parametrize("says", [ProxySays.X_FORWARDED_FOR, ProxySays.PROXY_PROTOCOL])
async def test_the_address_is_what_the_proxy_told(tmp_path: Path, says: ProxySays) -> None:
    settings = ServerSettings(proxies=Proxies(["127.0.0.1"], says))
    async with nodes(tmp_path, settings=settings) as (one, other):
        room = owned_by(1, 2)
        told = request(room, b"X-Forwarded-For: 192.0.2.7")
        if says is ProxySays.PROXY_PROTOCOL:
            told = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n" + request(room)
        async with await connected(one) as stream:
            await stream.send_all(told + JOIN)
            await until_joined(stream)
            [connection] = other.server.all_connections
            assert connection.meter.peer == "192.0.2.7"
            assert one.server.limits.clients.total == 0


async def test_under_tls_the_first_process_stays_in_between(tmp_path: Path) -> None:
    certificate = Certificate(*map(str, write(tmp_path)))
    async with nodes(tmp_path, ssl_context=certificate) as (one, other):
        url = one.url.replace("ws:", "wss:")
        room = owned_by(1, 2)
        async with open_client(url, ssl_context=trusting()) as client:
            async with client.join(room) as gathering:
                await gathering.submit({"pad": "x" * 200_000})
                assert (one.router.tally.between, one.server.connections) == (1, 0)
                assert one.server.numbers().handshakes == 0
                [connection] = other.server.all_connections
                assert connection.meter.peer == "127.0.0.1"
                await other.hall.disperse(room)
                async for _ in gathering:
                    pass
                assert gathering.dispersed is not None
                assert gathering.dispersed.reason == "admin"
            with trio.fail_after(5):
                await one.router.wait_empty()


async def test_the_end_of_a_client_under_tls_is_the_others_end_too(tmp_path: Path) -> None:
    certificate = Certificate(*map(str, write(tmp_path)))
    async with nodes(tmp_path, ssl_context=certificate) as (one, other):
        stream = await connected(one)
        secured = trio.SSLStream(stream, trusting(), server_hostname="127.0.0.1")
        await secured.send_all(request(owned_by(1, 2)) + JOIN)
        await until_joined(secured)
        await trio.aclose_forcefully(stream)
        with trio.fail_after(5):
            await other.server.wait_empty()
            await one.router.wait_empty()


# Where it can't be taken.


async def refusal(node: RunningNode, room: str) -> str:
    """Ask for a gathering, and return the answer."""
    answer = await trio.to_thread.run_sync(exchange, node.url, request(room))
    return answer.decode()


async def test_where_the_other_is_away_a_client_is_told_when_to_come_again(
    tmp_path: Path,
) -> None:
    async with nodes(tmp_path) as (one, other):
        other.scope.cancel()
        room = owned_by(1, 2)
        while next(iter(one.router._passages.values())).upkeep.is_up:
            await trio.testing.wait_all_tasks_blocked(0.001)
        before = places(one)
        answer = await refusal(one, room)
        assert answer.startswith("HTTP/1.1 503 ")
        assert "\r\nRetry-After: 5\r\n" in answer
        assert answer.endswith("can't be reached: it is away\n")
        await are(before, one)
        assert one.router.tally.routed["turned_away"] == 1
        # Its own are served as ever.
        await served(one.url, owned_by(0, 2))


async def test_one_that_takes_nobody_holds_nobody_up(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """It listens, and reads nothing, as a process that is stopped."""
    async with nodes(tmp_path, 1) as (one,):
        stuck = Node(id="stuck", name="stuck", socket=str(tmp_path / "stuck"))
        one.router.directory = Fixed(stuck)
        one.router.know(stuck)
        began = trio.current_time()
        before = places(one)
        with listen_privately(stuck.socket):
            await one.router.wait_known(5)
            async with trio.open_nursery() as nursery:
                answers: list[bytes] = []
                for _ in range(UNDER_WAY + 5):
                    nursery.start_soon(ask, one, answers)
        assert len(answers) == UNDER_WAY + 5
        assert all(b" 503 " in answer and b"Retry-After" in answer for answer in answers)
        assert trio.current_time() - began < PATIENCE + 2
        await are(before, one)


class Fixed:
    """A directory that knows one answer."""

    def __init__(self, node: Node) -> None:
        self.node = node

    async def find(self, gathering: str, *, passed: int) -> Node | None:
        return self.node


async def ask(node: RunningNode, answers: list[bytes]) -> None:
    async with await connected(node) as stream:
        await stream.send_all(request("room"))
        got = b""
        while data := await stream.receive_some():
            got += data
        answers.append(got)


async def test_a_client_goes_round_in_no_circle(tmp_path: Path) -> None:
    """Each believes that the other has it."""
    async with nodes(tmp_path) as (one, other):
        before = places(one)
        one.router.directory, other.router.directory = (
            Fixed(other.router.own()),
            Fixed(one.router.own()),
        )
        answer = await refusal(one, "room")
        assert answer.startswith("HTTP/1.1 503 ")
        assert "on its way to another process" in answer
        assert (one.router.tally.routed["passed_on"], other.router.tally.routed["passed_on"]) == (
            1,
            1,
        )
        await are(before, one, other)


async def test_nonsense_at_the_private_socket_ends_that_connection_alone(tmp_path: Path) -> None:
    async with nodes(tmp_path) as (one, other):
        for nonsense in (b"\xff" * 100, b"\0\0\0\1\0\0\xc0", b"\0\0\0\1\0\5\xc0", b"GET / HTTP/1"):
            with socket.socket(socket.AF_UNIX) as hostile:
                hostile.settimeout(5)
                hostile.connect(other.router.own().socket)
                hostile.sendall(nonsense)
                hostile.shutdown(socket.SHUT_WR)
                assert await trio.to_thread.run_sync(hostile.recv, 100) == b""
        await served(one.url, owned_by(1, 2))
        assert other.intake.taken == 1


async def test_many_at_once_are_all_served(tmp_path: Path) -> None:
    """More than may be on their way, and than there is room for at the other's door."""
    settings = ServerSettings(max_handshakes=40, max_handshakes_per_address=None)
    async with nodes(tmp_path, settings=settings) as (one, other):
        before = places(one)
        room = owned_by(1, 2)
        done, all_done = 0, trio.Event()

        async def join() -> None:
            nonlocal done
            async with open_client(one.url) as client, client.join(room):
                done += 1
                if done == 150:
                    all_done.set()
                await all_done.wait()

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for _ in range(150):
                    nursery.start_soon(join)
        assert other.intake.taken >= 150
        with trio.fail_after(5):
            await other.server.wait_empty()
        await are(before, one)
        assert places(other)[:3] == (0, 0, 0)
