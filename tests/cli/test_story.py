"""The whole story over a real socket, with client libraries that we didn't write.

The server's frames are `websockets`' own work; `wsproto` shares nothing with it.
"""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.cli.process import PATIENCE
from tests.forked import serving
from tests.server.raw import RawClient

Client = ClientConnection | RawClient


def say(to: Client, **message: Any) -> None:
    if isinstance(to, RawClient):
        to.say(**message)
    else:
        to.send(json.dumps(message))


def hear(client: Client) -> dict[str, Any]:
    if isinstance(client, RawClient):
        return client.hear()
    message: dict[str, Any] = json.loads(client.recv(timeout=PATIENCE))
    return message


def hear_close(client: Client) -> tuple[int, str]:
    if isinstance(client, RawClient):
        event = client.end()
        return event.code, event.reason or ""
    with pytest.raises(ConnectionClosed):
        client.recv(timeout=PATIENCE)
    assert client.close_code is not None
    return client.close_code, client.close_reason or ""


@pytest.mark.parametrize("connect", [connect, RawClient], ids=["websockets", "wsproto"])
def test_clients_meet_submit_return_and_see_the_end(
    connect: Callable[[str], Any], tmp_path: Path
) -> None:
    store = f"sqlite:///{tmp_path}/rooms.sqlite3"
    with serving("--store", store, "--idle-timeout", "2s") as (_, url):
        room = f"{url}/gatherings/friday-night"
        with connect(room) as alice, connect(room) as bob:
            say(alice, type="join", client="a1")
            joined = hear(alice)
            assert joined["type"] == "joined"
            assert joined["gathering"] == "friday-night"
            assert (joined["seq"], joined["ops"], joined["role"]) == (0, [], "member")
            assert joined["idle_timeout"] == 2
            assert joined["expires_in"] == pytest.approx(2, abs=0.1)
            say(bob, type="join", client="b1")
            assert hear(bob)["incarnation"] == joined["incarnation"]

            say(alice, type="sync", id="s1", base=0, ops=[{"n": 1}, {"n": "zwei"}])
            assert hear(alice) == {"type": "synced", "id": "s1", "seqs": [1, 2]}
            forward = hear(bob)
            assert forward["type"] == "forward"
            assert (forward["seq"], forward["ops"]) == (1, [{"n": 1}, {"n": "zwei"}])
            say(bob, type="ack", seq=2)
            say(bob, type="fetch", id="f1", since=1)
            fetched = {
                "type": "fetched",
                "id": "f1",
                "seq": 2,
                "ops": [{"n": "zwei"}],
                "by": [None],
            }
            assert hear(bob) == fetched
            say(bob, type="dance", id="d1")
            assert hear(bob)["code"] == "unknown_type"

            for client in (alice, bob):
                notice = hear(client)
                assert notice["type"] == "dispersed"
                assert (notice["reason"], notice["seq"]) == ("idle", 2)
                assert notice["idle_for"] == pytest.approx(2, abs=0.5)
                assert notice["incarnation"] == joined["incarnation"]
                assert hear_close(client) == (4001, "idle")

        with connect(room) as back:
            say(back, type="join", client="b1", since=1)
            again = hear(back)
            assert again["incarnation"] != joined["incarnation"]
            assert (again["seq"], again["ops"]) == (2, [{"n": "zwei"}])
            say(back, type="leave")
            assert hear_close(back)[0] == 1000

        with connect(room) as repeated:
            say(repeated, type="join", client="a1", since=2)
            hear(repeated)
            say(repeated, type="sync", id="s1", base=0, ops=[{"n": 1}, {"n": "zwei"}])
            assert hear(repeated) == {"type": "synced", "id": "s1", "seqs": [1, 2]}
            say(repeated, type="sync", id="s1", base=0, ops=[{"n": "other"}])
            assert hear(repeated)["code"] == "id_reused"


def test_messagepack_and_json_meet(tmp_path: Path) -> None:
    with serving("--store", "memory:") as (_, url):
        room = f"{url}/gatherings/mixed"
        subprotocols = [Subprotocol("squire.v1+msgpack")]
        with connect(room, subprotocols=subprotocols) as packed, connect(room) as plain:
            assert packed.subprotocol == "squire.v1+msgpack"
            packed.send(msgpack.packb({"type": "join"}))
            assert msgpack.unpackb(packed.recv(timeout=PATIENCE))["type"] == "joined"
            say(plain, type="join")
            hear(plain)
            say(plain, type="sync", id="1", base=0, ops=[{"ä": [1.5, None, True]}])
            hear(plain)
            forward = msgpack.unpackb(packed.recv(timeout=PATIENCE))
            assert forward == {
                "type": "forward",
                "seq": 1,
                "by": None,
                "op": {"ä": [1.5, None, True]},
            }
            packed.send(msgpack.packb({"type": "ack", "seq": 1}))
            packed.send(
                msgpack.packb({"type": "sync", "id": "x", "base": 1, "ops": [{"b": b"no"}]})
            )
            error = msgpack.unpackb(packed.recv(timeout=PATIENCE))
            assert (error["code"], error["id"]) == ("bad_message", "x")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_with_a_notice(number: signal.Signals, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/rooms.sqlite3"
    with serving("--store", store, "--close-grace", "3s") as (process, url):
        with connect(f"{url}/gatherings/a") as one, connect(f"{url}/gatherings/b") as two:
            for client in (one, two):
                say(client, type="join")
                hear(client)
            process.send_signal(number)
            for client in (one, two):
                assert hear(client)["reason"] == "shutdown"
                assert hear_close(client) == (1001, "shutdown")
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out) == (0, "")
        [warning] = err.splitlines()
        assert "nobody is asked who they are" in warning


def test_a_second_signal_exits_at_once() -> None:
    with (
        serving("--store", "memory:", "--close-grace", "1h") as (process, url),
        RawClient(f"{url}/gatherings/a") as client,
    ):
        # This client never answers the close frame: the server would wait for an hour.
        client.say(type="join")
        client.hear()
        process.send_signal(signal.SIGTERM)
        assert client.hear()["reason"] == "shutdown"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=PATIENCE) == 128 + signal.SIGTERM
