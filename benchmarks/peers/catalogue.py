"""The catalogue: every server that takes part, how it's started, and what it does *not* do."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from benchmarks.peers.scenarios import Scenario

NODE = Path(__file__).parent / "servers" / "node"
EVERYTHING = "acknowledge, retry, persist, resume, expire"


@frozen
class Peer:
    """One server. `command` prints the URL on its first line."""

    key: str
    title: str
    command: tuple[str, ...]
    dialect: str
    lacks: str
    ours: bool = False
    echoes: bool = True
    durable: bool = False

    def takes_part(self, scenario: Scenario) -> bool:
        """Whether this scenario means something here."""
        if scenario.durable or self.durable:
            return scenario.durable == self.durable
        return self.echoes or scenario.kind != "echo"


def server_in_python(module: str, *options: str) -> tuple[str, ...]:
    """Return the command that runs one of the servers in Python."""
    return (sys.executable, "-m", f"benchmarks.peers.servers.{module}", *options)


def on_node(name: str, *options: str) -> tuple[str, ...]:
    """Return the command that runs one of the programs on node."""
    return ("node", str(NODE / f"{name}.js"), *options)


def _squire(store: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "squire_gatherings", "serve", "--port", "0", "--store", store)


PEERS = (
    Peer("ours", "squire_gatherings", _squire("memory:"), "squire", "persist", ours=True),
    Peer("durable", "squire_gatherings, SQLite", _squire(""), "squire", "-", True, durable=True),
    Peer(
        "ours-tw",
        "our hall over trio-websocket",
        server_in_python("attend_trio_websocket"),
        "squire",
        "persist",
        ours=True,
    ),
    Peer(
        "ours-asgi",
        "our hall over hypercorn",
        server_in_python("attend_hypercorn"),
        "squire",
        "persist",
        ours=True,
    ),
    Peer(
        "trio-websocket",
        "trio-websocket, plain loop",
        server_in_python("plain_trio_websocket"),
        "plain",
        EVERYTHING,
    ),
    Peer(
        "websockets",
        "websockets, asyncio, broadcast",
        server_in_python("plain_websockets"),
        "plain",
        EVERYTHING,
    ),
    Peer(
        "websockets-uv",
        "websockets, uvloop, broadcast",
        server_in_python("plain_websockets", "--uvloop"),
        "plain",
        EVERYTHING,
    ),
    Peer(
        "websockets-trio",
        "websockets, Trio, loop of send",
        server_in_python("websockets_on_trio"),
        "plain",
        EVERYTHING,
    ),
    Peer(
        "python-socketio",
        "python-socketio rooms, uvicorn, uvloop",
        server_in_python("socketio_rooms"),
        "socketio",
        "acknowledge by itself, retry, persist, resume, expire",
    ),
    Peer(
        "pycrdt",
        "pycrdt-websocket rooms, uvicorn, uvloop",
        server_in_python("crdt_rooms"),
        "crdt",
        "acknowledge, retry, persist by itself; it merges documents instead",
        echoes=False,
    ),
    Peer(
        "picows",
        "picows, uvloop, loop of send",
        server_in_python("picows_rooms"),
        "plain",
        EVERYTHING,
    ),
    Peer(
        "socketify",
        "socketify topics (uWebSockets)",
        server_in_python("socketify_rooms"),
        "plain",
        EVERYTHING,
    ),
    Peer("node-ws", "node ws, loop of send", on_node("ws"), "plain", EVERYTHING),
    Peer(
        "node-socketio",
        "Socket.IO rooms on node",
        on_node("socketio"),
        "socketio",
        "acknowledge by itself, retry, persist, expire",
    ),
    Peer(
        "bare",
        "bare loop of socket writes (the floor)",
        server_in_python("bare"),
        "plain",
        f"{EVERYTHING}, time out, bear a slow reader",
    ),
)


def missing(peer: Peer) -> str | None:
    """Return why a peer can't take part here, or None; installs node's packages if it can."""
    return without_node() if peer.command[0] == "node" else None


def without_node() -> str | None:
    """Return why what runs on node can't take part; installs its packages if it can."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "node isn't installed"
    wanted = json.loads((NODE / "package.json").read_text())["dependencies"]
    if not all((NODE / "node_modules" / name).exists() for name in wanted):
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock"]
        if subprocess.run(command, cwd=NODE, capture_output=True, check=False).returncode:
            return "npm can't install its packages"
    return None


@contextmanager
def running(peer: Peer, folder: Path) -> "Iterator[tuple[str, subprocess.Popen[str]]]":
    """Start a peer, give its URL and process, and end it."""
    command = list(peer.command)
    if peer.durable:
        command[-1] = f"sqlite:///{folder}/rooms.sqlite3"
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            if "ws://" not in line:
                raise RuntimeError(f"{peer.title} said {line!r}, not its URL")
            yield line[line.index("ws://") :], process
        finally:
            process.kill()
