"""What operators see of nodes: the API, metrics and commands, of halls that share a store."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel

from squire_gatherings import open_hall
from squire_gatherings._admin.api.shapes import Nodes, NodeShown
from squire_gatherings._cli.doctor.nodes import judge_nodes
from squire_gatherings.testing import SharedMemory
from tests.admin.port import Port, serving
from tests.admin.test_metrics import read
from tests.cli.process import run_here
from tests.nodes.world import NodeUnderTest, open_node


async def metrics_of(port: Port) -> dict[str, float]:
    answer = await port.client.get("/metrics")
    return read(answer.text)


def options_of(port: Port, folder: Path) -> tuple[str, ...]:
    return ("--admin", str(port.client.base_url), "--admin-token-file", str(folder / "token"))


async def run(*command: str) -> tuple[int, str, str]:
    return await trio.to_thread.run_sync(lambda: run_here(*command))


async def until_seen(node: NodeUnderTest, count: int) -> None:
    while len(node.hall.nodes) != count:
        await node.local.beats.say_so()
        await trio.lowlevel.checkpoint()


async def test_nodes_are_listed_with_what_they_have(tmp_path: Path) -> None:
    shared = SharedMemory()
    async with (
        open_node(shared, "one") as one,
        open_node(shared, "two") as two,
        serving(one.hall, tmp_path) as port,
    ):
        await one.hall.open("a")
        await two.hall.open("b")
        await two.join("c")
        await until_seen(two, 2)
        # What it has is said with the beat after the next.
        for _ in range(2):
            await two.local.beats.say_so()
        await one.local.beats.say_so()
        said = await port.get("/api/v1/nodes")
        assert said["this"] == "one"
        assert 0 < said["lease_left"] <= one.store.lease.duration
        assert [node["name"] for node in said["nodes"]] == ["one", "two"]
        other = said["nodes"][1]
        assert (other["state"], other["gatherings"], other["connections"]) == ("up", 2, 1)
        code, out, _ = await run("nodes", *options_of(port, tmp_path))
        assert code == 0
        head, first, second, _, lease = out.splitlines()
        assert head.split()[:2] == ["NODE", "STATE"]
        assert first.split()[:3] == ["one", "*", "up"]
        assert second.split()[:4] == ["two", "up", "2", "1"]
        assert lease.startswith("Its lease lasts ")
        code, out, _ = await run("nodes", "--json", *options_of(port, tmp_path))
        assert (code, json.loads(out)["this"]) == (0, "one")


async def test_a_drain_gives_all_to_the_others_and_is_counted(tmp_path: Path) -> None:
    shared = SharedMemory()
    async with (
        open_node(shared, "one") as one,
        open_node(shared, "two") as two,
        serving(one.hall, tmp_path) as port,
    ):
        for name in ("a", "b", "c"):
            await one.hall.open(name)
        await until_seen(one, 2)
        before = await metrics_of(port)
        assert before["squire_nodes{state=up}"] == 2
        assert before["squire_lease_seconds_left"] > 0
        assert (await port.client.get("/readyz")).status_code == 200
        code, out, _ = await run("drain", "--yes", *options_of(port, tmp_path))
        assert (code, out) == (0, "gave 3 gatherings to other nodes\n")
        after = await metrics_of(port)
        assert after["squire_gatherings_moved_total"] == 3
        assert after["squire_move_pause_seconds_count"] >= 1
        assert after["squire_beats_total"] >= before["squire_beats_total"]
        # A load balancer sends nobody here any more.
        ready = await port.client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["checks"]["node"]["why"] == "this node is draining"
        while len(two.hall.gatherings()) < 3:
            await two.local.beats.say_so()
            await trio.lowlevel.checkpoint()
        assert two.local.arrived == 3


async def test_a_node_that_is_alone_keeps_what_it_has(tmp_path: Path) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one") as one, serving(one.hall, tmp_path) as port:
        await one.hall.open("a")
        code, out, _ = await run("drain", "--yes", "--json", *options_of(port, tmp_path))
        assert (code, json.loads(out)) == (1, {"moved": 0, "left": 1})
        code, out, _ = await run("drain", "--yes", *options_of(port, tmp_path))
        assert (code, out) == (1, "gave 0 gatherings to other nodes; 1 stays here\n")
        code, _, err = await run("drain", *options_of(port, tmp_path))
        assert code == 2
        assert "--yes" in err


async def test_a_node_that_is_cut_off_says_so(tmp_path: Path) -> None:
    shared = SharedMemory(lease=0.3, margin=0.1)
    async with open_node(shared, "one") as one, serving(one.hall, tmp_path) as port:
        await until_seen(one, 1)
        one.cut()
        with trio.fail_after(30):
            while one.local.ownership.is_certain:  # noqa: ASYNC110
                await trio.sleep(0.05)
        said = await port.get("/api/v1/nodes")
        assert said["lease_left"] < 0
        code, out, _ = await run("nodes", *options_of(port, tmp_path))
        assert code == 1
        assert out.endswith("The server can't tell now whether it is still one of them.\n")
        assert (await metrics_of(port))["squire_lease_seconds_left"] < 0
        checks = (await port.client.get("/readyz")).json()["checks"]
        assert not checks["node"]["ok"]
        one.heal()


@pytest.mark.parametrize("command", ["nodes", "drain"])
async def test_a_server_of_its_own_has_no_nodes(command: str, tmp_path: Path) -> None:
    async with open_hall() as hall, serving(hall, tmp_path) as port:
        assert (await port.get("/api/v1/nodes"))["nodes"] == []
        assert "squire_lease_seconds_left" not in await metrics_of(port)
        more = ("--yes",) if command == "drain" else ()
        code, out, err = await run(command, *more, *options_of(port, tmp_path))
        said = "this server shares its store with no other\n"
        if command == "nodes":
            assert (code, out) == (0, said)
        else:
            assert (code, len(err.splitlines())) == (2, 1)
            assert err.endswith(said)


def shown(name: str, **more: Any) -> NodeShown:
    values: dict[str, Any] = {
        "id": name,
        "name": name,
        "machine": "m",
        "address": "",
        "url": "",
        "state": "up",
        "gatherings": 0,
        "connections": 0,
        "beat_age": 0.1,
    }
    return NodeShown(**(values | more))


@pytest.mark.parametrize(
    ("nodes", "lease_left", "levels", "words"),
    [
        ([shown("a"), shown("b")], 4.0, ["ok"], "2 nodes, all up"),
        ([shown("a")], 4.0, ["warn"], "only node"),
        ([shown("a"), shown("b", state="silent")], 4.0, ["warn"], "no sign of life"),
        ([shown("a"), shown("b", state="draining")], 4.0, ["warn"], "drains"),
        ([shown("a"), shown("b")], -1.0, ["fail", "ok"], "serves nobody"),
        (
            [shown("a", address="h:1"), shown("b", machine="n")],
            4.0,
            ["warn", "ok"],
            "isn't reached by those of other machines",
        ),
        ([shown("a"), shown("a", id="c")], 4.0, ["warn", "ok"], "several nodes are called"),
    ],
)
def test_doctor_says_what_is_wrong_with_nodes(
    nodes: list[NodeShown], lease_left: float, levels: list[str], words: str
) -> None:
    found = list(judge_nodes(Nodes(now=0.0, this="a", lease_left=lease_left, nodes=nodes)))
    assert [str(one.level) for one in found] == levels
    assert words in found[0].says


async def test_doctor_asks_a_node(tmp_path: Path) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one") as one, serving(one.hall, tmp_path) as port:
        await until_seen(one, 1)
        _, out, _ = await run("doctor", "--json", *options_of(port, tmp_path))
        assert "it is the only node" in out
    async with open_hall() as hall, serving(hall, tmp_path) as port:
        _, out, _ = await run("doctor", "--json", *options_of(port, tmp_path))
        assert '"nodes"' not in out
