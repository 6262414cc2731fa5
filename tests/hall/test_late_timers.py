"""A timer that fires late looks at what has arrived before it ends anything."""

import pytest
import trio
from trio.testing import MemoryReceiveStream, MockClock, wait_all_tasks_blocked

from squire_gatherings._hall.membership import Membership
from squire_gatherings._open_hall import open_hall
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.messages import Ack, Dispersed, Fetch, Fetched, Sync, Synced
from squire_gatherings._values.op import Op
from tests.support import Recorder, slow_store

ROOM = "friday-night"


class Unread(Recorder):
    """A connection that has messages which nobody has read."""

    def __init__(self) -> None:
        super().__init__()
        self.membership: Membership | None = None
        self.unread: list[Sync | Ack] = []
        self.looks = 0

    def read_arrived(self) -> None:
        self.looks += 1
        assert self.membership is not None
        unread, self.unread = self.unread, []
        for message in unread:
            self.membership.deliver_nowait(message)


async def test_a_message_that_lies_unread_at_the_deadline_keeps_it_open(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=MemoryStore(), idle_timeout=10.0) as hall:
        connection = Unread()
        connection.membership = await hall.join(ROOM, connection)
        start = trio.current_time()
        connection.unread = [Sync("s", 0, (Op.of({"n": 1}),))]
        # Nothing ran, as while a machine sleeps.
        autojump_clock.jump(24.0)
        await connection.wait_for(Synced)
        assert not connection.closed
        await connection.wait_closed()
        assert connection.closed[0][0] == start + 34
        assert connection.closed[0][2] == "idle"


async def test_it_does_not_end_by_a_rule_that_was_taken_away_meanwhile(
    autojump_clock: MockClock,
) -> None:
    """The program changes the rules while everybody is heard, and another rule ends it then."""
    async with open_hall(store=MemoryStore(), idle_timeout=12.0, alone_timeout=10.0) as hall:

        class Changes(Unread):
            def read_arrived(self) -> None:
                hall.change_rules(ROOM, alone_timeout=None)

        connection = Changes()
        connection.membership = await hall.join(ROOM, connection)
        autojump_clock.jump(24.0)
        [notice] = await connection.wait_for(Dispersed)
        assert notice.reason == "idle"


@pytest.mark.parametrize("clients", [1, 300])
async def test_a_gathering_of_silent_clients_disperses_on_time(
    clients: int, autojump_clock: MockClock
) -> None:
    async with open_hall(store=MemoryStore(), idle_timeout=10.0) as hall:
        connections = [Unread() for _ in range(clients)]
        for connection in connections:
            connection.membership = await hall.join(ROOM, connection)
        start = trio.current_time()
        for connection in connections:
            await connection.wait_closed()
        assert {connection.closed[0][0] for connection in connections} == {start + 10}
        # Each connection was looked at once, not with every message.
        assert {connection.looks for connection in connections} == {1}


async def test_a_stream_that_became_readable_in_the_same_turn_is_heard(
    autojump_clock: MockClock,
) -> None:
    """A reader that waits for its stream, as TLS readers do, gets its turn."""
    async with open_hall(store=MemoryStore(), idle_timeout=10.0) as hall:
        for _ in range(20):
            theirs = MemoryReceiveStream()
            recorder = Recorder()
            membership = await hall.join(ROOM, recorder)
            start = trio.current_time()

            async def read(
                membership: Membership = membership, theirs: MemoryReceiveStream = theirs
            ) -> None:
                await theirs.receive_some()
                membership.deliver_nowait(Ack(0))

            async def write(theirs: MemoryReceiveStream = theirs, at: float = start + 10) -> None:
                await trio.sleep_until(at)
                theirs.put_data(b"x")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                nursery.start_soon(write)
            await wait_all_tasks_blocked()
            assert not recorder.closed
            await recorder.wait_closed()
            assert recorder.closed[0][0] == start + 20


async def test_a_fetch_that_is_being_read_is_not_interrupted(autojump_clock: MockClock) -> None:
    async with open_hall(store=slow_store("read", 15.0), idle_timeout=10.0, tail_bytes=1) as hall:
        await hall.submit(ROOM, [{"n": 1}])
        await hall.submit(ROOM, [{"n": 2}])
        recorder = Recorder()
        membership = await hall.join(ROOM, recorder, since=2)
        start = trio.current_time()
        membership.deliver_nowait(Fetch("f", 0))
        await recorder.wait_for(Fetched)
        assert trio.current_time() == start + 15
        # The message is processed only now.
        await recorder.wait_closed()
        assert recorder.closed[0][0] == start + 25
