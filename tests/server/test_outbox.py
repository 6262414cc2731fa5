"""The outbox: whole frames in order, whatever the socket takes and whenever."""

import socket
import sys

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol, Opcode

from squire_gatherings._server.outbox import Flusher, Outbox
from squire_gatherings._wire.underway import underway

FRAMER = FrameProtocol(client=False, extensions=[])


class Wire(trio.abc.SendStream):
    """A socket that takes as many bytes at once as it is told to."""

    def __init__(self, takes: list[int]) -> None:
        self.takes = takes
        self.data = bytearray()

    def try_write(self, data: bytes) -> int:
        taken = self.takes.pop() if self.takes else len(data)
        if taken < 0:
            raise BlockingIOError
        self.data += data[:taken]
        return min(taken, len(data))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        data = bytes(data)
        while data:
            await trio.lowlevel.checkpoint()
            taken = max(1, abs(self.takes.pop())) if self.takes else len(data)
            self.data += data[:taken]
            data = data[taken:]

    async def wait_send_all_might_not_block(self) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        pass


def received(data: bytes) -> list[tuple[Opcode, object]]:
    reader = FrameProtocol(client=True, extensions=[])
    reader.receive_bytes(data)
    return [(frame.opcode, frame.payload) for frame in reader.received_frames()]


frames = st.lists(
    st.tuples(
        st.sampled_from(["text", "soon", "ping", "pong"]), st.integers(0, 100), st.booleans()
    ),
    max_size=30,
)


@settings(deadline=None)
@given(frames, st.lists(st.integers(-1, 120), max_size=60), st.booleans())
def test_frames_never_interleave(
    plan: list[tuple[str, int, bool]], takes: list[int], finish: bool
) -> None:
    async def send() -> None:
        wire = Wire(list(takes))
        expected: list[tuple[Opcode, object]] = []
        flusher = Flusher()
        async with trio.open_nursery() as serving, trio.open_nursery() as nursery:
            serving.start_soon(flusher.run)
            outbox = Outbox(
                wire, wire.try_write, nursery, 10**6, lambda: None, lambda: None, flusher
            )
            for number, (kind, size, pause) in enumerate(plan):
                if kind in ("text", "soon"):
                    text = f"{number}:" + "x" * size
                    write = outbox.write if kind == "text" else outbox.write_soon
                    write(bytes(FRAMER.send_data(text)))
                    expected.append((Opcode.TEXT, text))
                else:
                    payload = b"%d" % number
                    frame = FRAMER.ping(payload) if kind == "ping" else FRAMER.pong(payload)
                    outbox.write(bytes(frame))
                    expected.append((Opcode.PING if kind == "ping" else Opcode.PONG, payload))
                if pause:
                    await trio.lowlevel.checkpoint()
            if finish:
                outbox.finish_with(bytes(FRAMER.close(4008, "slow")))
            await outbox.flushed()
            assert outbox.backlog == 0
            serving.cancel_scope.cancel()
        got = received(bytes(wire.data))
        if not finish:
            assert got == expected
            return
        # The last frame is the close; before it come the first of the sent frames, whole.
        assert got[-1] == (Opcode.CLOSE, (4008, "slow"))
        assert got[:-1] == expected[: len(got) - 1]

    trio.run(send)


class CountingWire(Wire):
    """A socket that takes everything, and counts the writes."""

    writes = 0

    def try_write(self, data: bytes) -> int:
        self.writes += 1
        return super().try_write(data)


def test_frames_that_are_written_in_one_turn_go_out_together() -> None:
    async def send() -> None:
        wire = CountingWire([])
        flusher = Flusher()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flusher.run)
            await trio.testing.wait_all_tasks_blocked()
            outbox = Outbox(
                wire, wire.try_write, nursery, 10**6, lambda: None, lambda: None, flusher
            )
            for letter in (b"a", b"b", b"c"):
                outbox.write_soon(letter)
            assert wire.writes == 0
            await trio.testing.wait_all_tasks_blocked()
            assert (wire.writes, bytes(wire.data)) == (1, b"abc")
            # A frame that goes out now takes waiting frames along.
            outbox.write_soon(b"d")
            outbox.write(b"e")
            assert (wire.writes, bytes(wire.data)) == (2, b"abcde")
            # Copying of large frames into one write is limited.
            for _ in range(5):
                outbox.write_soon(b"x" * 40_000)
            assert wire.writes >= 4
            await trio.testing.wait_all_tasks_blocked()
            assert len(wire.data) == 5 + 200_000
            # A frame that was discarded doesn't go out any more.
            outbox.write_soon(b"never")
            outbox.discard()
            await trio.testing.wait_all_tasks_blocked()
            assert len(wire.data) == 5 + 200_000
            nursery.cancel_scope.cancel()

    trio.run(send)


def test_the_backlog_is_bounded() -> None:
    async def fill() -> None:
        wire = Wire([-1])
        overflows: list[int] = []
        async with trio.open_nursery() as nursery:
            outbox = Outbox(
                wire, wire.try_write, nursery, 1000, lambda: overflows.append(1), lambda: None
            )
            for _ in range(20):
                outbox.write(b"x" * 100)
                assert outbox.backlog <= 1000
            assert len(overflows) == 10

    trio.run(fill)


def test_a_frame_of_any_size_goes_if_nothing_waits() -> None:
    """A snapshot larger than the backlog, and what follows while it's under way."""

    async def fill() -> None:
        wire = Wire([1, -1])
        overflows: list[int] = []
        async with trio.open_nursery() as nursery:
            outbox = Outbox(
                wire, wire.try_write, nursery, 1000, lambda: overflows.append(1), lambda: None
            )
            outbox.write(b"s" * 5000)
            for _ in range(20):
                outbox.write(b"x" * 100)
            assert len(overflows) == 10
            await outbox.flushed()
            wire.takes = [-1]
            # The exception was for this frame alone.
            for _ in range(20):
                outbox.write(b"y" * 100)
            assert len(overflows) == 20
        assert wire.data == b"s" * 5000 + b"x" * 1000 + b"y" * 1000

    trio.run(fill)


def test_the_last_frame_goes_out_from_a_full_backlog() -> None:
    async def fill() -> None:
        wire = Wire([1, 30])
        async with trio.open_nursery() as nursery:
            outbox = Outbox(wire, wire.try_write, nursery, 300, lambda: None, lambda: None)
            for letter in (b"a", b"b", b"c"):
                outbox.write(letter * 100)
            outbox.finish_with(b"end")
            outbox.write(b"late")
            await outbox.flushed()
        assert wire.data == b"a" * 100 + b"end"

    trio.run(fill)


def test_a_broken_connection_is_reported_once_and_wakes_waiting_tasks() -> None:
    class Broken(Wire):
        async def send_all(self, data: bytes | bytearray | memoryview) -> None:
            await trio.lowlevel.checkpoint()
            raise trio.BrokenResourceError

    async def fill() -> None:
        broken: list[int] = []
        async with trio.open_nursery() as nursery:
            wire = Broken([-1])
            outbox = Outbox(
                wire, wire.try_write, nursery, 1000, lambda: None, lambda: broken.append(1)
            )
            outbox.write(b"x")
            outbox.write(b"y")
            await outbox.flushed()
            outbox.write(b"z")
        assert (broken, outbox.backlog) == ([1], 0)
        assert not wire.data

    trio.run(fill)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
async def test_progress_is_what_the_peer_has_acknowledged() -> None:
    """The kernel takes much at once, and tells of more room only when a third is free."""
    with socket.socket() as listener, socket.socket() as theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        theirs.settimeout(20)
        theirs.connect(listener.getsockname())
        ours, _ = listener.accept()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 400_000)
        ours.setblocking(False)
        async with trio.open_nursery() as nursery:
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
            outbox = Outbox(
                stream,
                ours.send,
                nursery,
                10**7,
                lambda: None,
                lambda: None,
                underway=underway(stream),
            )
            outbox.write(b"x" * 2_000_000)
            taken = outbox.taken
            assert outbox.progress < taken
            assert outbox.progress + outbox.in_transit == 2_000_000
            before = outbox.progress
            got = 0
            while outbox.progress == before:
                got += len(theirs.recv(4096))
                await trio.lowlevel.checkpoint()
            # The progress shows long before the kernel takes more.
            assert got < 100_000
            assert before < outbox.progress < 2_000_000
            await stream.aclose()
            nursery.cancel_scope.cancel()
