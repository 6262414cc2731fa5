"""The calls of the API, asked over a real socket."""

import json
import logging
from pathlib import Path

import pytest
import trio

from squire_gatherings import CloseCode, Ending, Identity
from tests.admin.port import open_port
from tests.support import Recorder


async def test_the_list_is_filtered_sorted_and_comes_in_parts(tmp_path: Path) -> None:
    async with open_port(tmp_path) as port:
        for number in range(7):
            for _ in range(number):
                await port.hall.submit(f"game-{number}", [{"a": 1}])
            await port.hall.open(f"game-{number}")
        await port.hall.open("other")
        path = "/api/v1/gatherings"

        listed = await port.get(path, prefix="game-", limit=3)
        assert [one["id"] for one in listed["gatherings"]] == ["game-0", "game-1", "game-2"]
        assert listed["matched"] == 7
        found = []
        query = {"sort": "seq", "order": "descending", "limit": "3"}
        while True:
            part = await port.get(path, **query)
            assert part["matched"] == 8
            found += [(one["seq"], one["id"]) for one in part["gatherings"]]
            if part["next"] is None:
                break
            query["cursor"] = part["next"]
        assert found == [
            *((number, f"game-{number}") for number in range(6, 0, -1)),
            (0, "other"),
            (0, "game-0"),
        ]
        for sort in ("id", "deadline", "clients", "seq", "opened", "processed"):
            names, query = [], {"sort": sort, "limit": "5"}
            for _ in range(2):
                part = await port.get(path, **query)
                names += [one["id"] for one in part["gatherings"]]
                query["cursor"] = part["next"]
            assert sorted(names) == sorted([*(f"game-{n}" for n in range(7)), "other"]), sort


async def test_gatherings_that_never_end_are_sorted_behind_the_others(tmp_path: Path) -> None:
    async with open_port(tmp_path, idle_timeout=float("inf")) as port:
        for name in ("a", "b", "c"):
            await port.hall.open(name)
        query = {"sort": "deadline", "limit": "2"}
        first = await port.get("/api/v1/gatherings", **query)
        rest = await port.get("/api/v1/gatherings", cursor=first["next"], **query)
        assert [one["id"] for one in first["gatherings"] + rest["gatherings"]] == ["a", "b", "c"]
        assert {one["deadline"] for one in first["gatherings"]} == {None}


async def test_one_gathering_its_members_and_what_the_store_has(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/rooms.sqlite3"
    async with open_port(tmp_path, store=store, wall_clock=lambda: 1_000_000.0) as port:
        connections = [Recorder(), Recorder()]
        alice = await port.hall.join("room", connections[0], identity=Identity("alice"))
        await port.hall.join("room", connections[1], identity=Identity(None, "observer", 2e6))
        await port.hall.submit("room", [{"a": 1}, {"a": 2}])

        one = await port.get("/api/v1/gatherings/room")
        assert one["id"] == one["open"]["id"] == "room"
        assert (one["open"]["clients"], one["open"]["seq"], one["open"]["unacked"]) == (2, 2, 4)
        assert one["log"]["seq"] == 2
        assert one["log"]["last_time"] == 1_000_000.0
        assert one["open"]["deadline"] == round(1_000_000 + one["open"]["ends_in"], 3)

        members = await port.get("/api/v1/gatherings/room/members")
        assert members["members"] == [
            {
                "number": 1,
                "user": "alice",
                "role": "member",
                "expires_at": None,
                "acked": 0,
                "unacked": 2,
                "waiting": 0,
                "backlog": 0,
            },
            {
                "number": 2,
                "user": None,
                "role": "observer",
                "expires_at": 2e6,
                "acked": 0,
                "unacked": 2,
                "waiting": 0,
                "backlog": 0,
            },
        ]
        first = await port.get("/api/v1/gatherings/room/members", limit=1)
        rest = await port.get("/api/v1/gatherings/room/members", after=first["next"])
        assert [one["number"] for one in first["members"] + rest["members"]] == [1, 2]

        alice.detach()
        await port.hall.disperse("room")
        one = await port.get("/api/v1/gatherings/room")
        assert one["open"] is None
        assert one["log"]["seq"] == 2
        used = await port.get("/api/v1/gatherings/room/activity", slices=4, until=1_000_010)
        assert (used["since"], used["until"], used["ops"]) == (1_000_000, 1_000_010, [2, 0, 0, 0])
        answer = await port.client.get("/api/v1/gatherings/room/members")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_open")
        answer = await port.client.get("/api/v1/gatherings/nobody")
        assert (answer.status_code, answer.json()["code"]) == (404, "no_gathering")


async def test_operators_end_gatherings_and_put_users_out(tmp_path: Path) -> None:
    async with open_port(tmp_path) as port:
        bob, carol, observer = Recorder(), Recorder(), Recorder()
        await port.hall.join("a", bob, identity=Identity("bob"))
        await port.hall.join("b", carol, identity=Identity("carol"))
        await port.hall.join("b", observer, identity=Identity("dave"))
        kicked = await port.post("/api/v1/gatherings/b/kick", user="bob")
        assert kicked == {"closed": 0}
        assert await port.post("/api/v1/gatherings/a/kick", user="bob") == {"closed": 1}
        assert bob.closed[0][1] is CloseCode.UNAUTHORIZED
        changed = await port.post("/api/v1/users/change-role", user="dave", role="observer")
        assert changed == {"connections": 1}
        assert await port.post("/api/v1/users/revoke", user="dave", until=None) == {"closed": 1}
        assert await port.post("/api/v1/users/kick", user="carol") == {"closed": 1}
        assert await port.post("/api/v1/gatherings/b/disperse") == {"dispersed": True}
        assert port.hall.gatherings() == ("a",)
        assert await port.post("/api/v1/gatherings/b/disperse") == {"dispersed": False}


async def test_it_is_told_when_a_gathering_ends_and_that_can_be_changed(tmp_path: Path) -> None:
    wall = 1_000_000.0
    async with open_port(tmp_path, wall_clock=lambda: wall, idle_timeout=3600) as port:
        connection = Recorder()
        alice = await port.hall.join("room", connection, identity=Identity("alice"))
        path = "/api/v1/gatherings/room"
        told = await port.get(path + "/explain")
        assert (told["rule"], told["moved"]["what"], told["moved"]["by"]) == (
            "idle",
            "join",
            "alice",
        )
        assert told["deadline"] == told["ends"]["idle"] == round(wall + told["ends_in"], 3)
        assert 3590 < told["ends_in"] <= 3600
        assert told["rules"]["idle_timeout"] == 3600
        one = await port.get(path)
        assert one["open"]["deadline"] == pytest.approx(told["deadline"], abs=60)

        headers = {"Squire-Operator": "eve"}
        asked = await port.client.post(path + "/hold", json={"for": 7200}, headers=headers)
        told = asked.json()
        assert told["held_until"] == told["deadline"] == pytest.approx(wall + 7200, abs=0.002)
        assert (told["moved"]["what"], told["moved"]["by"]) == ("hold", "eve (127.0.0.1)")
        told = await port.post(path + "/hold", until=wall + 9000)
        assert told["deadline"] == pytest.approx(wall + 9000, abs=0.002)
        told = await port.post(path + "/hold", until=None)
        assert told["held_until"] is None
        assert told["deadline"] < wall + 3601

        before = told["deadline"]
        told = await port.post(path + "/extend", seconds=600)
        assert told["deadline"] == pytest.approx(before + 600, abs=60)
        told = await port.post(path + "/warn")
        [ending] = connection.of(Ending)
        assert ending.rule == "idle"
        alice.detach()

        for body in ({}, {"until": 1, "for": 1}, {"for": 0}, {"for": -1}, {"until": "now"}):
            answer = await port.client.post(path + "/hold", json=body)
            assert answer.status_code == 400, body
            assert answer.json()["code"] in ("bad_body", "bad_value"), body
        for call, body in (("hold", {"for": 1}), ("extend", {"seconds": 1}), ("warn", {})):
            answer = await port.client.post(f"/api/v1/gatherings/gone/{call}", json=body)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_open")
        answer = await port.client.get("/api/v1/gatherings/gone/explain")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_open")


async def test_a_log_is_exported_and_deleted(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/rooms.sqlite3"
    async with open_port(tmp_path, store=store) as port:
        for number in range(100):
            await port.hall.submit("room", [{"n": number, "text": "x" * 3000}])
        lines = [line async for line in port.hall.logs.export("room")]
        async with port.client.stream("GET", "/api/v1/gatherings/room/export") as answer:
            assert answer.headers["content-type"] == "application/jsonl"
            assert "content-length" not in answer.headers
            assert b"".join([part async for part in answer.aiter_bytes()]) == b"".join(lines)
        assert await port.hall.logs.import_log(lines, gathering_id="copy") == 100

        path = "/api/v1/gatherings/room"
        for confirm in ("", "Room", "room "):
            refused = await port.client.delete(path, params={"confirm": confirm})
            assert (refused.status_code, refused.json()["code"]) == (400, "not_confirmed")
        assert (await port.client.delete(path)).status_code == 400
        deleted = await port.client.delete(path, params={"confirm": "room"})
        assert deleted.json()["seq"] == 100
        info = await port.hall.logs.describe("room")
        assert info is not None
        assert info.is_deleted
        assert (await port.client.delete(path, params={"confirm": "room"})).status_code == 404
        assert (await port.client.get(path + "/export")).status_code == 404


async def test_the_hall_as_a_whole(tmp_path: Path) -> None:
    async with open_port(tmp_path) as port:
        await port.hall.join("a", Recorder())
        await port.hall.open("b")
        await port.hall.disperse("b")
        hall = await port.get("/api/v1/hall")
        assert hall["stages"] == {"opening": 0, "open": 1, "asleep": 0, "ending": 0}
        assert (hall["clients"], hall["opened"], hall["ended"]) == (1, 2, {"admin": 1})
        assert (hall["store"], hall["closing"]) == ("memory:", False)


async def test_what_operators_do_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "squire_gatherings.audit")
    async with open_port(tmp_path) as port:
        headers = {"Squire-Operator": "eve\x1b[31m"}
        await port.client.post("/api/v1/gatherings/a/disperse", headers=headers)
        await port.client.post("/api/v1/users/kick", json={"user": "bob"})
        await port.client.delete("/api/v1/gatherings/a?confirm=b")
        await port.stranger.post("/api/v1/gatherings/a/disperse")
        await port.get("/api/v1/gatherings")
    said = [
        (one.action, one.operator, one.target, one.outcome)  # type: ignore[attr-defined]
        for one in caplog.records
        if one.name == "squire_gatherings.audit"
    ]
    assert said == [
        ("disperse", "eve[31m (127.0.0.1)", "a", "done"),
        ("kick", "127.0.0.1", "bob", "done"),
        ("delete", "127.0.0.1", "a", "not_confirmed"),
        ("disperse", "127.0.0.1", "a", "unauthorized"),
    ]
    assert port.token not in caplog.text


async def test_several_operators_ask_at_once(tmp_path: Path) -> None:
    async with open_port(tmp_path) as port:
        for number in range(300):
            await port.hall.open(f"room-{number}")
        found: list[int] = []

        async def ask() -> None:
            found.append((await port.get("/api/v1/gatherings", limit=1000))["matched"])

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(ask)
        assert found == [300] * 8


def test_the_description_is_json_that_names_every_call() -> None:
    from squire_gatherings._admin.app import OPERATIONS
    from squire_gatherings._admin.openapi import openapi

    described = json.loads(json.dumps(openapi(OPERATIONS, "1")))
    named = {
        one["operationId"] for methods in described["paths"].values() for one in methods.values()
    }
    assert named == {one.name for one in OPERATIONS}
    assert len(named) == len(OPERATIONS)


async def test_how_many_come_from_an_address(tmp_path: Path) -> None:
    async with open_port(tmp_path) as port:
        path = "/api/v1/addresses"
        assert (await port.get(path, address="203.0.113.7"))["clients"] == 0
        said = await port.get(path, address="2001:db8::7")
        assert (said["address"], said["clients"]) == ("2001:db8::/64", 0)
        mapped = await port.get(path, address="::ffff:203.0.113.7")
        assert mapped["address"] == "203.0.113.7"
        for wrong in ("", "nonsense", "203.0.113.7/24", "1" * 65):
            answer = await port.client.get(path, params={"address": wrong})
            assert answer.status_code == 400, wrong
        assert (await port.client.get(path)).status_code == 400
