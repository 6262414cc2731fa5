"""The channel between the two processes of a handover."""

import os
import socket
from collections.abc import Iterator

import pytest
import trio

from squire_gatherings._handover.channel import AT_ONCE, Channel, Ended
from squire_gatherings._handover.messages import Hello, Message, Newcomers, Ready, Refused
from squire_gatherings._values.handover import Newcomer


@pytest.fixture
def channels() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = socket.socketpair()
    pair = Channel(ours), Channel(theirs)
    yield pair
    for channel in pair:
        channel.close()


async def test_messages_and_open_files_arrive_in_order(channels: tuple[Channel, Channel]) -> None:
    ours, theirs = channels
    pipes = [os.pipe() for _ in range(AT_ONCE)]
    readers = [reader for reader, _ in pipes]
    received: list[tuple[Message, list[int]]] = []

    async def send() -> None:
        await ours.send(Hello(version="x" * 1_000_000))
        await ours.send(Newcomers([Newcomer(1, "::1", "squire.v1+json")]), readers)
        await ours.send(Refused("no"), readers[:1])

    async def receive() -> None:
        for _ in range(3):
            received.append(await theirs.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        nursery.start_soon(receive)
    kinds = [type(message) for message, _ in received]
    assert kinds == [Hello, Newcomers, Refused]
    copies = received[1][1]
    assert len(copies) == AT_ONCE
    assert len(received[2][1]) == 1
    for number, (copy, (_, writer)) in enumerate(zip(copies, pipes, strict=True)):
        os.write(writer, bytes([number]))
        assert os.read(copy, 10) == bytes([number])
        assert not os.get_inheritable(copy)
    for one in (*copies, *received[2][1], *(end for pipe in pipes for end in pipe)):
        os.close(one)


async def test_what_is_sent_now_needs_nobody_else(channels: tuple[Channel, Channel]) -> None:
    ours, theirs = channels
    ours.send_now(Ready(), 1.0)
    assert theirs.receive_now(1.0) == Ready()
    with pytest.raises(Ended, match="took too long"):
        theirs.receive_now(0.001)
    with pytest.raises(Ended, match="took too long"):
        # More than fits, and nobody reads.
        ours.send_now(Refused("x" * 10_000_000), 0.001)


async def test_the_end_of_the_other_process(channels: tuple[Channel, Channel]) -> None:
    ours, theirs = channels
    ours.close()
    with pytest.raises(Ended, match="the other process has gone"):
        await theirs.receive()
    with pytest.raises(Ended, match="Broken pipe"):
        await theirs.send(Ready())
    with pytest.raises(Ended):
        ours.send_now(Ready(), 1.0)


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\1\0\0\xff",
        b"\0\0\0\1\0\1\x80",
        b"\xff\xff\xff\xff\0\0",
        b"\0\0\0\x0d\0\0" + b"\x81\xa4type\xa7unknown",
    ],
)
async def test_nonsense(channels: tuple[Channel, Channel], data: bytes) -> None:
    ours, theirs = channels
    ours.one.send(data)
    with pytest.raises(Ended):
        await theirs.receive()


async def test_open_files_nobody_takes_are_closed(channels: tuple[Channel, Channel]) -> None:
    ours, theirs = channels
    reader, writer = os.pipe()
    await ours.send(Ready(), [writer])
    os.close(writer)
    # The copy goes with the message that nobody was to have files from.
    assert theirs.receive_now(1.0) == Ready()
    assert os.read(reader, 1) == b""
    os.close(reader)
