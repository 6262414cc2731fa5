"""The `websockets` library as the client: another author's reading of RFC 6455."""

import json
from collections.abc import Callable
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
import trio
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from squire_gatherings import ServerSettings
from tests.cli.process import PATIENCE
from tests.server.test_server import a_server
from tests.ways_in.ways import Way, every_way, serving

Packer = Callable[[Any], str | bytes]
CODECS: dict[str | None, tuple[Packer, Callable[[Any], Any]]] = {
    None: (json.dumps, json.loads),
    "squire.v1+json": (json.dumps, json.loads),
    "squire.v1+msgpack": (msgpack.packb, msgpack.unpackb),
}


def dial(url: str, subprotocol: str | None = None) -> ClientConnection:
    """Connect, with the library's own offers (permessage-deflate among them)."""
    offered = None if subprotocol is None else [Subprotocol(subprotocol)]
    return connect(f"{url}/gatherings/room?from=here", subprotocols=offered, proxy=None)


@every_way
@pytest.mark.parametrize("subprotocol", CODECS)
async def test_websockets_client_converses_with_the_server(
    subprotocol: str | None, way: Way
) -> None:
    pack, unpack = CODECS[subprotocol]
    async with serving(way) as (_, server, url):

        def talk() -> None:
            with dial(url, subprotocol) as alice, dial(url) as bob:
                assert alice.subprotocol == subprotocol
                alice.send(pack({"type": "join"}))
                bob.send(json.dumps({"type": "join"}))
                assert unpack(alice.recv())["type"] == json.loads(bob.recv())["type"] == "joined"
                op = {"zürich": [1, 2.5, None, True, {"x": "y" * 70_000}]}
                sync = pack({"type": "sync", "id": "1", "base": 0, "ops": [op]})
                alice.send([sync[:40], sync[40:1000], sync[:0], sync[1000:]])
                assert unpack(alice.recv()) == {"type": "synced", "id": "1", "seqs": [1]}
                assert json.loads(bob.recv())["op"] == op
                alice.ping().wait(10)
                alice.send("x" if isinstance(sync, bytes) else b"x")
                assert unpack(alice.recv())["code"] == "bad_message"
                bob.send(json.dumps({"type": "leave"}))
                with pytest.raises(ConnectionClosed) as closed:
                    bob.recv()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1000
                alice.close(code=4321, reason="mine")
                assert alice.close_code == 4321

        await trio.to_thread.run_sync(talk)
        await server.wait_empty()


@every_way
@pytest.mark.parametrize("subprotocol", CODECS)
async def test_an_earlier_state_over_the_wire(subprotocol: str | None, way: Way) -> None:
    pack, unpack = CODECS[subprotocol]
    async with serving(way) as (_, server, url):

        def talk() -> None:
            with dial(url, subprotocol) as client:

                def ask(**message: Any) -> Any:
                    client.send(pack(message))
                    return unpack(client.recv(timeout=PATIENCE))

                assert ask(type="join", times=True)["type"] == "joined"
                for n in range(3):
                    sync = {"type": "sync", "id": f"s{n}", "base": 0, "ops": [{"n": n}]}
                    assert ask(**sync)["type"] == "synced"
                found = ask(type="fetch", id="f", at=2)
                assert (found["seq"], found["ops"]) == (2, [{"n": 0}, {"n": 1}])
                found = ask(type="fetch", id="f", since=1, at=2)
                assert (found["seq"], found["ops"]) == (2, [{"n": 1}])
                time = found["times"][0]
                assert ask(type="fetch", id="f", at_time=time)["seq"] >= 2
                assert ask(type="fetch", id="f", at_time=1)["seq"] == 0
                assert ask(type="fetch", id="f", at=4)["code"] == "bad_base"
                assert ask(type="fetch", id="f", at=-1)["code"] == "bad_message"
                assert ask(type="fetch", id="f", at="2")["code"] == "bad_message"

        await trio.to_thread.run_sync(talk)
        await server.wait_empty()


async def test_clients_beyond_max_connections_get_503() -> None:
    async with a_server(ServerSettings(max_connections=2)) as (_, server, url):

        def fill() -> None:
            with dial(url) as one, dial(url) as two:
                for client in (one, two):
                    # Only a client that has joined takes a place.
                    client.send('{"type":"join"}')
                    assert json.loads(client.recv())["type"] == "joined"
                with pytest.raises(InvalidStatus) as refused:
                    dial(url)
                response = refused.value.response
                assert response.status_code == 503
                assert response.headers["Retry-After"] == "5"

        def again() -> None:
            with dial(url) as client:
                client.send('{"type":"join"}')
                assert json.loads(client.recv())["type"] == "joined"

        await trio.to_thread.run_sync(fill)
        await server.wait_empty()
        await trio.to_thread.run_sync(again)
