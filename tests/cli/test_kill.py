"""Power loss: `kill -9` under load, from cold starts (tests/edges/test_kills.py has a thousand)."""

import json
import threading
from pathlib import Path
from typing import Any

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from tests.cli.process import PATIENCE
from tests.forked import serving

KILLS = 10
CLIENTS = 4


class Submitter(threading.Thread):
    """Submits numbered ops one after the other until the server dies; repeats unanswered ones."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.url = ""
        self.number = 0
        self.acknowledged: dict[int, int] = {}

    def run(self) -> None:
        try:
            with connect(f"{self.url}/gatherings/room", close_timeout=1) as client:
                client.send(json.dumps({"type": "join", "client": self.name, "since": 0}))
                while True:
                    sync = {
                        "type": "sync",
                        "id": f"{self.name}-{self.number}",
                        "base": 0,
                        "ops": [{"by": self.name, "n": self.number}],
                    }
                    client.send(json.dumps(sync))
                    [seq] = self._answer(client, sync["id"])
                    self.acknowledged[self.number] = seq
                    self.number += 1
        except (WebSocketException, OSError, EOFError):
            return

    def _answer(self, client: Any, sync_id: object) -> list[int]:
        while True:
            message = json.loads(client.recv(timeout=PATIENCE))
            if message["type"] == "synced" and message["id"] == sync_id:
                seqs: list[int] = message["seqs"]
                return seqs
            assert message["type"] in ("forward", "joined"), message


def read_everything(url: str) -> list[dict[str, Any]]:
    with connect(f"{url}/gatherings/room") as client:
        client.send(json.dumps({"type": "join"}))
        ops: list[dict[str, Any]] = []
        seq = json.loads(client.recv(timeout=PATIENCE))["seq"]
        while len(ops) < seq:
            client.send(json.dumps({"type": "fetch", "id": "f", "since": len(ops)}))
            message = json.loads(client.recv(timeout=PATIENCE))
            if message["type"] == "fetched":
                ops.extend(message["ops"])
        return ops


def test_acknowledged_ops_outlast_kill_9(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/rooms.sqlite3"
    submitters = [Submitter(f"c{number}") for number in range(CLIENTS)]
    for kill in range(KILLS):
        with serving("--store", store) as (process, url):
            threads = []
            for submitter in submitters:
                # The same client goes on, with the sync that wasn't answered first.
                thread = Submitter(submitter.name)
                thread.url = url
                thread.number = submitter.number
                thread.acknowledged = submitter.acknowledged
                threads.append(thread)
                thread.start()
            goal = sum(len(s.acknowledged) for s in submitters) + 5 + kill % 7
            while sum(len(thread.acknowledged) for thread in threads) < goal:
                assert any(thread.is_alive() for thread in threads)
                threads[0].join(0.001)
            process.kill()
            for thread in threads:
                thread.join(20)
                assert not thread.is_alive()
            submitters = threads
    with serving("--store", store) as (_, url):
        ops = read_everything(url)
    for submitter in submitters:
        mine = [(seq, op["n"]) for seq, op in enumerate(ops, start=1) if op["by"] == submitter.name]
        # Each op is there once, in order; at most one of them wasn't answered.
        assert [n for _, n in mine] == list(range(len(mine)))
        assert len(mine) - len(submitter.acknowledged) in (0, 1)
        assert {n: seq for seq, n in mine if n in submitter.acknowledged} == submitter.acknowledged
