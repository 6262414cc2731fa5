"""A small client: it stays in one gathering, and misses nothing. It shares no code with ours.

It knows neither proofs nor presence nor renewals, and fetches nothing: none of that is required.
"""

import asyncio
import json
import math
import random
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

Message = dict[str, Any]
ENCODINGS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "json": (json.dumps, json.loads),
    "msgpack": (msgspec.msgpack.encode, msgspec.msgpack.decode),
}
COMES_BACK = ("shutdown", "crashed", "evicted", "moved")
PASSING = ("store_unavailable", "rate_limited", "full", "crashed", "hall_closed", "unauthorized")
JOINS_AGAIN = (*PASSING, "authentication_unavailable", "internal", "moved")
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
REPEAT_AFTER, ACK_AFTER = 0.3, 0.05


class Nonsense(Exception):
    """The server says what can't be."""


class AnotherLog(Exception):
    """The log isn't the one that we know."""


class Over(Exception):
    """The stay is over for good; says why, by a code."""


class Asleep(Exception):
    """The gathering has dispersed; says by what reason."""


def check(holds: bool, what: str) -> None:
    """Raise `Nonsense`, unless it holds."""
    if not holds:
        raise Nonsense(what)


class Sync:
    """Ops that aren't answered."""

    def __init__(self, name: str, ops: list[Message], base: int) -> None:
        self.name, self.ops, self.base = name, ops, base
        self.sent = self.was_sent = self.in_doubt = False
        self.not_before = 0.0


class Room:
    """A gathering, as one client has it. `tell` is told what happens there."""

    def __init__(
        self, url: str, gathering: str, token: str, encoding: str, tell: Callable[..., None]
    ) -> None:
        self.url, self.gathering, self.token, self.tell = url, gathering, token, tell
        self.protocol = Subprotocol(f"squire.v1+{encoding}")
        self.encode, self.decode = ENCODINGS[encoding]
        self.client = secrets.token_hex(16)
        self.ops: list[Message] = []
        self.syncs: dict[str, Sync] = {}
        self.wanted = asyncio.Event()
        self.work = asyncio.Event()
        self.ack_at = math.inf
        self.suspects: set[str] = set()
        """Syncs of which the server has refused one, without saying which."""
        self.begins_after: int | None = None
        self.incarnation = ""
        self.max_ops, self.progressed, self.joined_seq = 1000, False, 0
        self.forget()

    def forget(self) -> None:
        """Have nothing of the log."""
        self.seq, self.epoch = 0, ""
        self.ops.clear()
        self.held: list[tuple[int, str | None, Message]] = []
        self.own: set[int] = set()

    # What the program asks.

    def submit(self, name: str, ops: list[Message]) -> None:
        """Submit ops; `tell` is told the outcome, under that name."""
        if len(ops) > self.max_ops:
            self.tell("outcome", id=name, error="too_big")
            return
        sync_id = secrets.token_hex(16)
        self.syncs[sync_id] = Sync(name, ops, self.seq)
        self.wanted.set()
        self.work.set()

    async def stay(self) -> None:
        """Be in the gathering until it is over for good, or cancelled."""
        bound = FIRST_PAUSE
        while True:
            self.progressed, code = False, None
            try:
                code = await self.connect_once()
            except (OSError, InvalidHandshake, TimeoutError, Nonsense, LookupError, TypeError):
                pass
            except AnotherLog:
                self.forget()
                self.begins_after = 0
                for sync in self.syncs.values():
                    sync.base = 0
                self.tell("restarted")
            except Asleep as asleep:
                self.tell("ended", reason=str(asleep))
                self.incarnation = ""
                self.wanted.clear()
                if not self.syncs:
                    await self.wanted.wait()
            except Over as over:
                self.tell("over", error=str(over))
                return
            for sync in self.syncs.values():
                # Also one that was put off may have been applied.
                sync.in_doubt |= sync.was_sent
                sync.sent = False
            bound = FIRST_PAUSE if self.progressed and code != 4029 else bound
            await asyncio.sleep(random.uniform(0, bound))
            bound = min(2 * bound, LONGEST_PAUSE)

    # One connection.

    async def connect_once(self) -> int | None:
        """Join and listen; return the close code."""
        url = f"{self.url}/gatherings/{self.gathering}"
        async with connect(
            url, subprotocols=[self.protocol], max_size=None, compression=None, proxy=None
        ) as socket:
            sender = None
            try:
                join: Message = {"type": "join", "token": self.token, "client": self.client}
                if self.seq:
                    join |= {"since": self.seq, "epoch": self.epoch}
                if self.incarnation and not self.syncs:
                    join |= {"resume": self.incarnation}
                await socket.send(self.encode(join))
                self.joined(await self.receive(socket), "resume" in join)
                self.ack_at = math.inf
                sender = asyncio.create_task(self.send_all(socket))
                while True:
                    self.take(await self.receive(socket))
            except ConnectionClosed as closed:
                return self.closed(None if closed.rcvd is None else closed.rcvd.code)
            finally:
                if sender is not None:
                    sender.cancel()
                    await asyncio.wait([sender])

    def closed(self, code: int | None) -> int | None:
        """The connection has ended with that code."""
        if code in (4003, 4009):
            raise Over("unauthorized" if code == 4003 else "replaced")
        if code == 4011:
            raise AnotherLog
        if code == 1009:
            self.refuse_the_only_one("too_big")
        return code

    async def receive(self, socket: ClientConnection) -> Message:
        """Return the next message that this version knows."""
        data = await socket.recv()
        try:
            message = self.decode(data)
        except (ValueError, msgspec.MsgspecError) as error:
            raise Nonsense("no message") from error
        check(isinstance(message, dict) and isinstance(message["type"], str), "no message")
        return dict(message)

    async def send_all(self, socket: ClientConnection) -> None:
        """Send what isn't answered, and acknowledge what came, until cancelled."""
        now = asyncio.get_running_loop().time
        with suppress(ConnectionClosed):
            while True:
                self.work.clear()
                unsent = {name: one for name, one in self.syncs.items() if not one.sent}
                if self.suspects & self.syncs.keys():
                    # One of them was refused: each goes out alone.
                    is_busy = any(one.sent for one in self.syncs.values())
                    unsent = {} if is_busy else dict(list(unsent.items())[:1])
                for sync_id, sync in unsent.items():
                    if now() >= sync.not_before:
                        sync.sent = sync.was_sent = True
                        message = {"id": sync_id, "base": sync.base, "ops": sync.ops}
                        await socket.send(self.encode({"type": "sync", **message}))
                if now() >= self.ack_at:
                    self.ack_at = math.inf
                    await socket.send(self.encode({"type": "ack", "seq": self.seq}))
                due = [one.not_before for one in unsent.values() if not one.sent]
                wait = min([self.ack_at, *due]) - now()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.work.wait(), None if wait == math.inf else wait)

    # What the server says.

    def joined(self, message: Message, by_itself: bool) -> None:
        """Take the answer to a join."""
        if message["type"] == "dispersed" and by_itself:
            self.dispersed(message)
        if message["type"] == "error":
            code = message["code"]
            if code in ("log_replaced", "bad_base") and self.seq:
                raise AnotherLog
            if code == "unauthorized" or code not in JOINS_AGAIN:
                raise Over(code)
        check(message["type"] == "joined", "no answer to a join")
        seq, incarnation = message["seq"], message["incarnation"]
        check(message["gathering"] == self.gathering and bool(incarnation), "not ours")
        check(isinstance(seq, int) and seq >= 0, "a seq")
        if seq < self.seq:
            raise AnotherLog
        first = message.get("first_seq", self.seq + 1)
        check(first + len(message["ops"]) <= seq + 1, "too many ops")
        self.incarnation, self.joined_seq = incarnation, seq
        self.max_ops = message.get("max_ops", 1000)
        if self.begins_after is None:
            self.begins_after = seq
        self.seq = max(self.seq, first - 1)
        self.arrived(first, message)
        self.release()

    def take(self, message: Message) -> None:
        """Take a message."""
        match message["type"]:
            case "forward":
                self.forward(message)
                self.ack_at = min(self.ack_at, asyncio.get_running_loop().time() + ACK_AFTER)
                self.work.set()
            case "synced" if message["id"] in self.syncs:
                self.synced(self.syncs.pop(message["id"]), message["seqs"], message.get("ops"))
            case "conflict" if message["id"] in self.syncs:
                sync = self.syncs.pop(message["id"])
                self.arrived(sync.base + 1, message)
                self.tell("outcome", id=sync.name, error="conflict")
            case "error":
                self.failed(message)
            case "dispersed":
                self.dispersed(message)
        self.work.set()
        self.release()

    def forward(self, message: Message) -> None:
        """Take one op or several."""
        if "op" in message:
            check("ops" not in message and not isinstance(message["by"], list), "both forms")
            message |= {"ops": [message["op"]], "by": [message["by"]]}
        check(isinstance(message["seq"], int) and message["seq"] > 0, "a seq")
        check(bool(message["ops"]), "no ops")
        self.arrived(message["seq"], message)

    def arrived(self, first: int, page: Message) -> None:
        """Take what is lacking of the ops from `first` on."""
        ops, by = page["ops"], page["by"]
        check(isinstance(ops, list) and isinstance(by, list) and len(ops) == len(by), "by")
        check(all(isinstance(op, dict) for op in ops), "an op")
        check(first <= self.seq + 1, "a hole")
        for seq, (op, whose) in enumerate(zip(ops, by, strict=True), start=first):
            if seq > self.seq:
                self.held.append((seq, whose, op))
                self.seq, self.progressed = seq, True
                self.epoch = page.get("epoch", self.incarnation)

    def synced(self, sync: Sync, seqs: list[int], logged: list[Message] | None) -> None:
        """Take the answer to a sync of ours."""
        check(len(seqs) == len(sync.ops) and seqs == list(range(seqs[0], seqs[-1] + 1)), "seqs")
        self.own.update(seqs)
        self.progressed = True
        if seqs[0] == self.seq + 1 and seqs[0] > self.joined_seq:
            for seq, op in zip(seqs, logged or sync.ops, strict=True):
                self.held.append((seq, None, op))
            self.seq, self.epoch = seqs[-1], self.incarnation
        self.tell("outcome", id=sync.name, seqs=seqs)

    def failed(self, message: Message) -> None:
        """Take an error."""
        code, sync_id = message["code"], message.get("id")
        if code == "log_replaced":
            raise AnotherLog
        if sync_id is None:
            self.refuse_the_only_one(code)
        elif sync_id in self.syncs and code in PASSING:
            sync = self.syncs[sync_id]
            sync.not_before = asyncio.get_running_loop().time() + REPEAT_AFTER
            sync.sent = False
            self.work.set()
        elif sync_id in self.syncs:
            self.tell("outcome", id=self.syncs.pop(sync_id).name, error=code)

    def refuse_the_only_one(self, code: str) -> None:
        """An error was about something that was sent, and isn't answered."""
        sent = [sync_id for sync_id, sync in self.syncs.items() if sync.sent]
        if len(sent) == 1 and code not in PASSING:
            self.tell("outcome", id=self.syncs.pop(sent[0]).name, error=code)
        elif sent:
            self.suspects = set(sent)
            for sync_id in sent:
                self.syncs[sync_id].sent = False
        self.work.set()

    def dispersed(self, message: Message) -> None:
        """Take the notice of an end."""
        check(message["gathering"] == self.gathering, "another gathering")
        self.release()
        if message["reason"] in COMES_BACK:
            raise Nonsense("it comes back")
        raise Asleep(message["reason"])

    def release(self) -> None:
        """Let go what is held back, once it is known whose it is."""
        if any(sync.in_doubt for sync in self.syncs.values()):
            return
        for seq, by, op in self.held:
            self.ops.append(op)
            if seq not in self.own and seq > (self.begins_after or 0):
                self.tell("change", seq=seq, by=by, op=op)
        self.held.clear()
