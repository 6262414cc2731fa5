"""The subject: the client under test, which is told what to do, and tells what it sees.

Both are lines of JSON (docs/conformance.md has them all). Where they go is the way in's business: a
process's pipes, or a WebSocket. Whatever a client says may be wrong, too much, or not come at all.
"""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import trio
from attrs import define, field

MAX_LINE = 8 * 1024 * 1024
"""How many bytes one line may have."""
MAX_REPORTS = 20_000
"""How many lines a client may print in one story."""
QUOTED = 200

REPORTS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "ready": {"name": str},
    "change": {"seq": int, "op": dict},
    "outcome": {"id": str},
    "fetched": {"id": str, "seq": int},
    "state": {"ops": list},
    "presence": {"users": list},
    "ended": {"reason": str},
    "restarted": {},
    "over": {"error": str},
    "left": {},
}
"""The reports, and the fields that each must have."""


class Misbehaved(Exception):
    """The client under test, or its adapter, doesn't keep to the lines; says how."""


class Lines(Protocol):
    """Where the lines go, and where they come from."""

    async def send(self, line: bytes) -> None:
        """Send a line. Raises `Misbehaved` if nobody takes it."""

    async def receive(self) -> bytes:
        """Return the next line. Raises `Misbehaved` when there is none, or it doesn't end."""


@define(eq=False)
class Subject:
    """The client under test. `run` reads what it reports; the others wait for that."""

    lines: Lines
    name: str = "the client"
    can: frozenset[str] = frozenset()
    """What it does beside the least."""
    encodings: tuple[str, ...] = ("json",)
    is_ready: bool = False
    fault: str | None = None
    """How it misbehaved; nothing more is read then."""
    reports: list[dict[str, Any]] = field(factory=list)
    """What it reported since the story began."""
    _news: trio.Event = field(factory=trio.Event)

    def begin(self) -> None:
        """A story begins: what was reported before belongs to others."""
        self.reports.clear()

    async def tell(self, order: str, **fields: Any) -> None:
        """Give an order. Raises `Misbehaved`."""
        await self.lines.send(msgspec.json.encode({"do": order, **fields}) + b"\n")

    async def run(self) -> None:
        """Read reports until the client misbehaves, or is gone."""
        try:
            while True:
                self._take(await self.lines.receive())
        except Misbehaved as error:
            self.fault = str(error)
        self._tell()

    def all(self, kind: str) -> list[dict[str, Any]]:
        """Return the reports of one kind, in their order."""
        return [one for one in self.reports if one["report"] == kind]

    async def wait(self, is_there: Callable[[], bool]) -> None:
        """Wait until the reports are as wanted. Raises `Misbehaved`.

        Cancellation: nothing is lost.
        """
        while not is_there():
            if self.fault is not None:
                raise Misbehaved(self.fault)
            await self._news.wait()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        report = _understood(line)
        if report["report"] == "ready":
            self._ready(report)
        else:
            if len(self.reports) >= MAX_REPORTS:
                raise Misbehaved(f"it printed more than {MAX_REPORTS:,} lines")
            self.reports.append(report)
        self._tell()

    def _ready(self, report: dict[str, Any]) -> None:
        can, encodings = report.get("can", []), report.get("encodings", ["json"])
        for names in (can, encodings):
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise Misbehaved("`can` and `encodings` of its line `ready` are arrays of text")
        name = report["name"][:QUOTED]
        self.name = "".join(one if one.isprintable() else "?" for one in name)
        self.can = frozenset(can)
        self.encodings, self.is_ready = tuple(encodings), True


def _understood(line: bytes) -> dict[str, Any]:
    try:
        report = msgspec.json.decode(line)
    except (msgspec.MsgspecError, RecursionError):
        report = None
    said = line[:QUOTED].decode(errors="replace").strip()
    kind = report.get("report") if isinstance(report, dict) else None
    if not isinstance(report, dict) or not isinstance(kind, str) or kind not in REPORTS:
        raise Misbehaved(f"it printed a line that is no report: {said!r}")
    for name, what in REPORTS[kind].items():
        value = report.get(name)
        if not isinstance(value, what) or isinstance(value, bool):
            raise Misbehaved(f"its report {kind!r} has no proper `{name}`: {said!r}")
    return report
