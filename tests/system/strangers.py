"""Strangers: clients without our library, which do only what they are told."""

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio
from attrs import define, field

from squire_gatherings.testing import LinkEnd
from tests.system.frames import (
    CLOSE,
    MESSAGES,
    PING,
    PONG,
    TEXT,
    Frames,
    frame,
    request,
    say,
    understand,
)
from tests.system.tap import LOST_TURN, Tap

if TYPE_CHECKING:
    from tests.system.world import World

ANOTHER_LOG = ("log_replaced", "bad_base")
"""Errors that tell a client that joins that its log was replaced."""


@define(eq=False)
class Stranger:
    """One client on bare frames, which comes back as the same client when it's told to."""

    world: "World"
    name: str
    gathering: str
    token: str | None = None
    packed: bool = False
    """Whether it speaks MessagePack."""
    has: int = 0
    """The last op that it has."""
    epoch: str | None = None
    incarnation: str | None = None
    """The incarnation that it was in last."""
    unanswered: dict[str, dict[str, Any]] = field(factory=dict)
    answered: list[dict[str, Any]] = field(factory=list)
    """The syncs that were answered."""
    presence: dict[str, Any] | None = None
    """The state with which it asks who is here."""
    tap: Tap | None = None
    pongs: bool = True
    """Whether it answers pings."""
    _end: LinkEnd | None = None
    _joined_seq: int = -1
    _submits: int = 0
    _fetches: int = 0

    @property
    def client(self) -> str:
        return f"the secret of {self.name}"

    @property
    def is_observer(self) -> bool:
        return self.token is not None and self.token.startswith("observer:")

    # What it does.

    async def join(self, how: str, *, room: int, piece: int) -> None:
        """Connect and join anew, leaving the older connection to the server.

        `how` says what it claims to have: `all` that it has, `nothing`, only what comes
        (`tail`), or that it comes back by itself (`resume`).
        """
        found = await self.world.connect(room=room, piece=piece)
        if found is None:
            return
        end, tap = found
        join: dict[str, Any] = {"type": "join", "client": self.client, "token": self.token}
        if how == "resume" and self.incarnation is not None and not self.unanswered:
            join["resume"] = self.incarnation
        if how in ("all", "resume") and self.has:
            join |= {"since": self.has, "epoch": self.epoch}
        elif how == "tail":
            join["tail"] = True
        if self.presence is not None:
            join["presence"] = self.presence
        if how in ("nothing", "tail"):
            self.has, self.epoch = 0, None
        self._end, self.tap, self._joined_seq = end, tap, -1
        tap.link.troubled = not self.pongs
        self.world.nursery.start_soon(self._listen, end)
        # What it says next may come with its first message, before the answer.
        await self._send(request(self.gathering, packed=self.packed), self._say(join))
        for sync in tuple(self.unanswered.values()):
            await self._send(self._say(sync))

    async def submit(self, kinds: list[str], *, stale: int) -> None:
        ops = [{"k": f"{self.name}.{self._number()}", "do": kind} for kind in kinds]
        base = max(0, self.has - stale)
        sync = {"type": "sync", "id": f"{self.name}-{self._submits}", "base": base, "ops": ops}
        self.world.truth.submits(self.gathering, ops)
        self.unanswered[str(sync["id"])] = sync
        await self._send(self._say(sync))

    def _number(self) -> int:
        self._submits += 1
        return self._submits

    async def repeat(self) -> None:
        """Send again what isn't answered, on the same connection."""
        for sync in tuple(self.unanswered.values()):
            await self._send(self._say(sync))

    async def ask_again(self, number: int) -> None:
        """Send an answered sync again, however old it is."""
        if self.answered:
            await self._send(self._say(self.answered[number % len(self.answered)]))

    async def ack(self) -> None:
        if self.has:
            await self._send(self._say({"type": "ack", "seq": self.has}))

    async def fetch(self, since: int | None) -> None:
        self._fetches += 1
        message: dict[str, Any] = {"type": "fetch", "id": f"f{self._fetches}"}
        if since is not None:
            message["since"] = min(since, self.has)
        await self._send(self._say(message))

    async def present(self, number: int) -> None:
        """Ask who is here, and be shown with a state."""
        self.presence = {"n": number}
        await self._send(self._say({"type": "presence", "id": "p", "state": self.presence}))

    async def leave(self) -> None:
        await self._send(self._say({"type": "leave"}))

    async def talk_nonsense(self, data: bytes, *, ends: bool) -> None:
        """Send messages that can't be understood; with `ends`, bytes that aren't even frames."""
        if self.tap is not None:
            self.tap.is_honest = False
            self.tap.is_blind |= ends
        said = frame(TEXT, data)
        if self.packed:
            with suppress(ValueError):
                said = self._say(json.loads(data))
        await self._send(data if ends else said)

    def set_pongs(self, answers: bool) -> None:
        """Answer pings from now on, or stop answering."""
        self.pongs = answers
        if self.tap is not None and not answers:
            self.tap.link.troubled = True

    async def hang_up(self, *, politely: bool) -> None:
        end = self._end
        if end is None:
            return
        if politely:
            await self._send(frame(CLOSE, (1000).to_bytes(2, "big")))
        else:
            self._end = None
            await end.aclose()

    def _say(self, message: dict[str, Any]) -> bytes:
        return say(message, packed=self.packed)

    async def _send(self, *frames: bytes) -> None:
        if self._end is not None:
            try:
                await self._end.send_all(b"".join(frames))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._end = None

    # What it receives.

    async def _listen(self, end: LinkEnd) -> None:
        frames = Frames()
        async with end:
            try:
                while data := await end.receive_some():
                    for opcode, payload in frames.feed(data):
                        if opcode in MESSAGES and end is self._end:
                            self._heard(understand(payload, packed=self.packed))
                        elif opcode == PING and self.pongs:
                            await end.send_all(frame(PONG, payload))
                        elif opcode == CLOSE:
                            await end.send_all(frame(CLOSE, payload[:2]))
                            return
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            finally:
                if end is self._end:
                    self._end = None

    def _heard(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "joined":
                self.incarnation = message["incarnation"]
                self._joined_seq = message["seq"]
                if "snapshot" in message:
                    self._has(message["seq"], message)
                elif message["ops"]:
                    before = message.get("first_seq", self.has + 1) - 1
                    self._has(before + len(message["ops"]), message)
                elif "first_seq" in message:
                    self._has(message["first_seq"] - 1, message)
                elif not self.has:
                    # It asked for nothing from before its join.
                    self._has(message["seq"], message)
            case "forward":
                count = len(message["ops"]) if "ops" in message else 1
                self._has(message["seq"] + count - 1, message)
            case "synced":
                sync = self.unanswered.pop(message["id"], None)
                if sync is not None:
                    self.answered.append(sync)
                last = message["seqs"][-1]
                if last > self._joined_seq:
                    self._has(last, {})
            case "conflict":
                self.unanswered.pop(message["id"], None)
            case "error" if message["code"] in ANOTHER_LOG and "id" not in message:
                self.has, self.epoch, self.incarnation = 0, None, None
                # What isn't answered is based on nothing that is in this log.
                for sync in self.unanswered.values():
                    sync["base"] = 0
            case "error" if message["code"] not in LOST_TURN:
                self.unanswered.pop(message.get("id", ""), None)

    def _has(self, seq: int, message: dict[str, Any]) -> None:
        if seq > self.has:
            self.has = seq
            self.epoch = message.get("epoch", self.incarnation)
