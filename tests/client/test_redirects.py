"""Redirects: a client is sent to the node that has its gathering, and nowhere worse."""

import ssl
from pathlib import Path

import pytest
import trio
from attrs import evolve

from squire_gatherings._client.address import parse_address
from squire_gatherings._client.redirects import _there
from squire_gatherings._client.websocket import Lost, Redirected
from squire_gatherings.client import open_client
from tests.cluster.nodes import RunningNode, nodes, owned_by
from tests.cluster.test_passing import request
from tests.server.certificates import trusting
from tests.server.test_server import exchange


def known_as(one: RunningNode, other: RunningNode, url: str) -> None:
    """Have one node know under which URL clients reach another."""
    directory = one.router.directory
    workers = list(directory.workers)  # type: ignore[attr-defined]
    workers[other.number] = evolve(workers[other.number], url=url)
    one.router.directory = evolve(directory, workers=workers)  # type: ignore[misc]


async def test_a_client_goes_to_the_node_itself(tmp_path: Path) -> None:
    room = owned_by(1, 2)
    async with nodes(tmp_path, is_far=True) as (one, other):
        known_as(one, other, f"{other.url}/")
        async with open_client(one.url) as client, client.join(room) as gathering:
            assert await gathering.submit({"n": 1}) == 1
            assert (one.router.tally.between, other.server.connections) == (0, 1)
            assert one.server.numbers().clients == 0
        # Who doesn't say that it follows is relayed.
        answer = await trio.to_thread.run_sync(
            exchange, one.url, request(room) + b"\x88\x80\0\0\0\0"
        )
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert one.router.tally.routed["relayed"] == 1


async def test_where_it_is_sent_nobody_is_and_it_is_relayed(tmp_path: Path) -> None:
    async with nodes(tmp_path, is_far=True) as (one, other):
        known_as(one, other, "ws://127.0.0.1:1")
        async with open_client(one.url) as client, client.join(owned_by(1, 2)) as gathering:
            assert await gathering.submit({"n": 1}) == 1
            assert one.router.tally.between == 1


async def test_a_circle_has_an_end(tmp_path: Path) -> None:
    async with nodes(tmp_path, is_far=True) as (one, other):
        known_as(one, other, one.url)
        async with open_client(one.url) as client, client.join(owned_by(1, 2)) as gathering:
            # In the end it is relayed.
            assert await gathering.submit({"n": 1}) == 1
            assert one.router.tally.between == 1


async def test_it_follows_nothing_where_the_program_connects(tmp_path: Path) -> None:
    async with nodes(tmp_path, is_far=True) as (one, other):
        known_as(one, other, other.url)
        host, port = one.server.addresses[0]

        async def connect() -> trio.abc.Stream:
            return await trio.open_tcp_stream(host, port)

        async with (
            open_client("ws://somewhere", open_stream=connect) as client,
            client.join(owned_by(1, 2)) as gathering,
        ):
            await gathering.submit({"n": 1})
            assert one.router.tally.between == 1


@pytest.mark.parametrize(
    ("location", "host", "port", "secure"),
    [
        ("ws://two:9/other/path?token=x", "two", 9, False),
        ("wss://two", "two", 443, True),
        ("wss://[2001:db8::1]:8765/x", "2001:db8::1", 8765, True),
    ],
)
def test_only_the_place_is_another_one(location: str, host: str, port: int, secure: bool) -> None:
    asked = parse_address("ws://one:8765/live")
    there = _there(asked, Redirected("", location))
    assert there == evolve(asked, host=host, port=port, secure=secure)


@pytest.mark.parametrize(
    "location",
    ["", "/elsewhere", "http://two", "ws://", "ws://user:secret@two", "wss://two:99999", "ws:two"],
)
def test_it_goes_nowhere_that_is_no_server(location: str) -> None:
    with pytest.raises(Lost, match="no server's URL"):
        _there(parse_address("ws://one"), Redirected("", location))


def test_it_does_not_leave_tls() -> None:
    with pytest.raises(Lost, match="no TLS"):
        _there(parse_address("wss://one"), Redirected("", "ws://two"))


async def test_the_other_place_needs_a_certificate_of_its_own(tmp_path: Path) -> None:
    """A redirect to what isn't trusted is not followed to its end."""
    context: ssl.SSLContext = trusting()
    async with nodes(tmp_path, is_far=True) as (one, other):
        # It speaks no TLS there at all: nothing was said to it, and the client is relayed.
        known_as(one, other, other.url.replace("ws:", "wss:"))
        async with (
            open_client(one.url, ssl_context=context) as client,
            client.join(owned_by(1, 2)) as gathering,
        ):
            await gathering.submit({"n": 1})
            assert one.router.tally.between == 1
