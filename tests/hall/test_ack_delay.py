"""Where there are many clients, each is asked to wait before it acknowledges, and waited for."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from trio.testing import MockClock

from squire_gatherings._hall.parts import quotas_of
from squire_gatherings._open_hall import open_hall
from squire_gatherings._rules.acks import ACKS_A_SECOND, LATER, USUAL_DELAY, ack_delay
from squire_gatherings._rules.delivery_window import DeliveryWindow
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.messages import Forward, Joined, Sync
from squire_gatherings._values.op import Op
from tests.client.scripted import Peer, a_client, forward, joined
from tests.client.world import ROOM
from tests.support import Recorder


async def forwarded_at(connections: int, until: float) -> tuple[Recorder, list[float]]:
    """Return a client of a hall with so many connections, and when it was sent an op."""
    async with open_hall(store=MemoryStore()) as hall:
        quotas_of(hall).budget.connections = connections
        author, other = Recorder(), Recorder()
        membership = await hall.join(ROOM, author)
        await hall.join(ROOM, other)
        begun = trio.current_time()
        await membership.deliver(Sync("a", 0, (Op(b"{}"),)))
        await trio.sleep(until)
        quotas_of(hall).budget.connections = 0
        return other, [at - begun for at, one in other.received if isinstance(one, Forward)]


async def test_few_clients_are_told_nothing(autojump_clock: MockClock) -> None:
    other, times = await forwarded_at(100, until=0.3)
    assert other.of(Joined)[0].ack_delay is UNSET
    assert times == pytest.approx([0, 0.25], abs=0.01)


async def test_many_are_asked_to_wait_and_sent_nothing_again_meanwhile(
    autojump_clock: MockClock,
) -> None:
    other, times = await forwarded_at(2000, until=1.4)
    [told] = other.of(Joined)
    assert told.ack_delay == 2000 / ACKS_A_SECOND == 0.5
    assert times == pytest.approx([0, LATER * 0.5], abs=0.01)


@given(st.integers(0, 10**7), st.floats(0.001, 1000))
def test_no_delay_is_long(connections: int, limit: float) -> None:
    delay = ack_delay(connections, limit)
    if delay is None:
        assert connections / ACKS_A_SECOND <= USUAL_DELAY or limit / 10 <= USUAL_DELAY
    else:
        assert USUAL_DELAY < delay <= min(1.0, limit / 10)


def test_another_process_waits_as_long() -> None:
    window = DeliveryWindow(0.25, 10.0, 0)
    window.begin(3)
    window.wait_for(0.5)
    other = DeliveryWindow(0.25, 10.0, 0)
    other.resume(window.state(5.0), 0.0)
    other.forwarded(4, 100.0)
    assert other.due_at == 100.0 + LATER * 0.5


@pytest.mark.parametrize(
    ("own", "told", "waits"), [(0.1, 0.5, 0.5), (0.7, 0.5, 0.7), (0.0, 0.5, 0.0), (0.1, None, 0.1)]
)
async def test_our_client_waits_as_long_as_it_is_asked(
    own: float, told: float | None, waits: float, autojump_clock: MockClock
) -> None:
    waited: list[float] = []

    async def script(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined(**({} if told is None else {"ack_delay": told})), forward(1))
        begun = trio.current_time()
        await peer.hear("ack")
        waited.append(trio.current_time() - begun)
        await peer.wait()

    async with a_client(script, ack_delay=own) as client, client.join(ROOM):
        await trio.sleep(1)
    assert waited == pytest.approx([waits])
