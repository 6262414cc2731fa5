"""The network in memory: links that are cut, slow, narrow and half open."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings.testing import Break, Link, LinkEnd, Network


@pytest.mark.parametrize("how", ["end", "reset"])
async def test_it_breaks_at_a_chosen_byte(how: Break) -> None:
    link = Link()
    client, server = link.client_end, link.server_end
    link.cut_after(3, up=True, how=how)
    await client.send_all(b"ab")
    assert await server.receive_some() == b"ab"
    with pytest.raises(trio.BrokenResourceError):
        await client.send_all(b"cd")
    assert link.broken
    if how == "end":
        assert await server.receive_some() == b"c"
        assert await server.receive_some() == b""
    else:
        with pytest.raises(trio.BrokenResourceError):
            await server.receive_some()


async def test_it_takes_its_time_and_keeps_the_order(autojump_clock: MockClock) -> None:
    link = Link()
    link.down.delay = 5.0
    client, server = link.client_end, link.server_end
    await server.send_all(b"one")
    link.down.delay = 0.0
    await trio.sleep(1)
    await server.send_all(b"two")
    await server.aclose()
    assert await client.receive_some() == b"onetwo"
    assert trio.current_time() == 5.0
    assert await client.receive_some() == b""


async def test_half_open(autojump_clock: MockClock) -> None:
    link = Link()
    client, server = link.client_end, link.server_end
    link.stall(up=True, down=False)
    await client.send_all(b"up")
    await server.send_all(b"down")
    assert await client.receive_some() == b"down"
    with trio.move_on_after(3600) as patience:
        await server.receive_some()
    assert patience.cancelled_caught
    link.stall(up=False, down=False)
    assert await server.receive_some() == b"up"


async def test_a_slow_reader_holds_the_sender_up(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    link = Link()
    link.down.room, link.down.piece = 4, 3
    client, server = link.client_end, link.server_end
    nursery.start_soon(server.send_all, b"abcdefgh")
    await wait_all_tasks_blocked()
    assert link.down.held == b"abcd"
    assert link.down.was_full
    pieces: list[bytes] = []
    while sum(map(len, pieces)) < 8:
        pieces.append(await client.receive_some())
    assert b"".join(pieces) == b"abcdefgh"
    assert max(map(len, pieces)) == 3


async def test_links_go_by_name(nursery: trio.Nursery) -> None:
    served: list[LinkEnd] = []

    async def serve(end: LinkEnd) -> None:
        served.append(end)

    network = Network(nursery, serve)
    one, other = await network.connect("alice"), await network.connect("bob")
    await wait_all_tasks_blocked()
    assert len(served) == 2
    network.cut("alice")
    assert await one.receive_some() == b""
    await other.send_all(b"still here")
    network.go_down()
    with pytest.raises(ConnectionRefusedError):
        await network.connect("carol")
    with pytest.raises(trio.BrokenResourceError):
        await other.send_all(b"not any more")
    network.come_up()
    assert [link.name for link in network.links] == ["alice", "bob"]
    assert network.of("bob") == [other.link]
    await network.connect("bob")
    assert len(network.of("bob")) == 2
