"""The room: a gathering as the server of a story has it, and what that server says."""

from typing import Any

from attrs import define, field

from squire_gatherings._conform.links import Link
from squire_gatherings._conform.logs import BEGAN, Log

USER = "ann"
"""Who the client under test is to others."""
PASSING = {
    "store_unavailable", "rate_limited", "full", "crashed", "hall_closed", "moved", "unauthorized",
}  # fmt: skip
"""Errors after which a sync is sent again."""

Message = dict[str, Any]


@define(eq=False, kw_only=True)
class Room:
    """One gathering. What its server says depends on how the client joined on that link."""

    gathering: str
    log: Log = field(factory=lambda: Log("first"))
    incarnation: str = "incarnation-1"
    begins_after: int | None = None
    """The seq after which the client reports changes; None before its first join."""
    restarts: int = 0
    """How often the log was replaced."""
    made_id: str = "an-id-that-the-server-made"
    """The `client` of a client that says none."""
    _ops: int = 0

    # What happens in it.

    def op(self, **fields: Any) -> dict[str, Any]:
        """Return an op that is like no other."""
        self._ops += 1
        return {"n": self._ops, "text": f"Grüße, {self._ops} ♟", **fields}

    def more(self, count: int = 1, by: str | None = "bob") -> list[int]:
        """Have somebody else submit ops, of which the client isn't told; return their seqs."""
        ops = [self.op(by=by) for _ in range(count)]
        sync_id = f"of-{by}-{self.log.seq}"
        return self.log.append(ops, by, self.incarnation, sync_id=sync_id)

    def new_incarnation(self) -> None:
        """The gathering has ended, and is open again."""
        number = int(self.incarnation.rpartition("-")[2]) + 1
        self.incarnation = f"incarnation-{number}"

    def new_log(self, count: int) -> None:
        """The log is another one from now on, with so many ops of others."""
        self.new_incarnation()
        self.log = Log(f"another, of {self.incarnation}")
        self.more(count, "zoe")
        self.begins_after = 0
        self.restarts += 1

    # What its server says.

    def joined(self, link: Link, up_to: int | None = None, **more: Any) -> Message:
        """Return the answer to a join, by what the log has after its `since`, or up to there."""
        log, join = self.log, link.join
        since = min(join.get("since") or 0, log.seq)
        if join.get("tail") and "since" not in join:
            since = log.seq
        end = max(since, log.seq if up_to is None else up_to)
        if self.begins_after is None:
            self.begins_after = log.seq
        link.told = max(link.told, end)
        message = {
            "type": "joined",
            "gathering": self.gathering,
            "incarnation": self.incarnation,
            "seq": log.seq,
            "role": "member",
            "user": USER,
            "idle_timeout": 3600.0,
            "expires_in": 3600.0,
            "max_ops": 1000,
            **log.page(since, end, self.incarnation, join),
        }
        if "client" not in join:
            message["client"] = self.made_id
        if join.get("proof") and (proof := log.prove()) is not None:
            message["proof"] = proof
        return message | more

    def forward(self, link: Link, first: int, last: int | None = None) -> Message:
        """Return the forward of one op, or of several."""
        end = first if last is None else last
        link.told = max(link.told, end)
        page = self.log.page(first - 1, end, self.incarnation, link.join)
        if last is not None:
            return {"type": "forward", "seq": first, **page}
        message = {"type": "forward", "seq": first, "by": page["by"][0], "op": page["ops"][0]}
        message |= {"epoch": page["epoch"]} if "epoch" in page else {}
        message |= {"time": page["times"][0]} if "times" in page else {}
        return message | ({"sync": page["syncs"][0]} if "syncs" in page else {})

    def others(self, link: Link, count: int = 1, by: str | None = "bob") -> list[Message]:
        """Have somebody else submit ops; return the forward of each."""
        return [self.forward(link, seq) for seq in self.more(count, by)]

    def apply(
        self, link: Link, sync: Message, logged: list[dict[str, Any]] | None = None
    ) -> Message:
        """Log the client's sync; return the answer. `logged` are other ops than it sent."""
        ops = sync["ops"] if logged is None else logged
        seqs = self.log.append(ops, USER, self.incarnation, sync_id=sync["id"], is_own=True)
        answer = self.synced(link, sync, seqs)
        return answer if logged is None else answer | {"ops": logged}

    def synced(self, link: Link, sync: Message, seqs: list[int]) -> Message:
        """Return the answer to a sync that is logged."""
        link.told = max(link.told, seqs[-1])
        message = {"type": "synced", "id": sync["id"], "seqs": seqs}
        return message | ({"time": BEGAN + seqs[0]} if link.join.get("times") else {})

    def error(self, code: str, link: Link | None = None, request: Message | None = None) -> Message:
        """Return an error, as the answer to that request, if it is one."""
        message = {"type": "error", "code": code, "message": f"the story says {code}"}
        if request is None:
            return message
        if link is not None and code in PASSING:
            link.syncs.discard(request["id"])
        return message | {"id": request["id"]}

    def dispersed(self, reason: str = "idle") -> Message:
        """Return the notice of an end."""
        return {
            "type": "dispersed",
            "gathering": self.gathering,
            "incarnation": self.incarnation,
            "reason": reason,
            "seq": self.log.seq,
            "idle_for": 3600.0,
        }
