"""The judge: what holds for all that a client sends, in every story."""

from collections.abc import Collection
from typing import Any

from attrs import define, field

from squire_gatherings._conform.links import Link
from squire_gatherings._conform.logs import Log
from squire_gatherings._conform.room import Message, Room
from squire_gatherings._conform.rules import (
    ACKS,
    BASE,
    CLIENT_ID,
    IN_THE_URL,
    KNOWN,
    MESSAGES,
    ONCE,
    SINCE,
    SYNC_IDS,
    TOKENS,
    Failed,
    Rule,
)

LEAST_CLIENT_ID = 16


def require(holds: bool, rule: Rule, did: str) -> None:
    """Fail a client that did so, unless it holds."""
    if not holds:
        raise Failed(rule, did)


@define(eq=False)
class Judge:
    """Remembers what one client has said, and judges what it says next. Raises `Failed`."""

    room: Room
    tokens: Collection[str]
    """Those that the client was given."""
    _client_id: str | None = None
    _was_in: bool = False
    """Whether it has surely been let in once, and so told its id if it had none."""
    _log: Log | None = None
    """The log for which the next two hold."""
    _acked: int = 0
    """The last seq that it has acknowledged, on any link."""
    _has_proof: bool = False
    """Whether a proof has arrived, as can be told by what the client did afterwards."""
    _syncs: dict[str, list[Any]] = field(factory=dict)
    """The ops of each sync."""

    def request(self, link: Link, subprotocol: str, *, is_default: bool) -> None:
        """Judge the request for a WebSocket."""
        path = link.request.path
        secret = any(token in path for token in self.tokens)
        require("?" not in path and not secret, IN_THE_URL, f"asked for {path!r}")
        offers = [one for one in link.offered if not one.startswith("squire.token.")]
        asks = subprotocol in offers or (not offers and is_default)
        require(asks, MESSAGES, f"doesn't offer the subprotocol {subprotocol!r}")

    def join(self, link: Link, join: Message) -> None:
        """Judge the first message."""
        self._forget_another_log()
        client, known = join.get("client"), self._client_id
        if known is None and self._was_in:
            known = self.room.made_id
        if client is not None:
            count = len(client)
            require(count >= LEAST_CLIENT_ID, CLIENT_ID, f"has a `client` of {count} characters")
        require(known in (None, client), CLIENT_ID, "came back with another `client`")
        self._client_id = client
        said = {join.get("token"), *(one.removeprefix("squire.token.") for one in link.offered)}
        headers = link.request.headers.get_all("Authorization")
        said |= {one.removeprefix("Bearer ") for one in headers}
        require(not said.isdisjoint(self.tokens), TOKENS, "joined without it")
        since = join.get("since") or 0
        least, most = self._acked, self.room.log.seq
        require(since >= least, SINCE, f"came with `since` {since}, and acknowledged {least}")
        require(since <= most, SINCE, f"came with `since` {since}, of {most} ops")
        if since:
            self._judge_what_it_knows(since, join)

    def _judge_what_it_knows(self, since: int, join: Message) -> None:
        log, epoch = self.room.log, join.get("epoch")
        expected = log.epoch_of(since)
        did = f"said the epoch {epoch!r} of an op of {expected!r}"
        require(epoch == expected, SINCE, did)
        if log.proofs and join.get("proof"):
            known = join.get("known")
            right = known in log.proofs or (known is None and not self._has_proof)
            require(right, KNOWN, f"said {known!r}")

    def ack(self, link: Link, seq: int) -> None:
        """Judge an acknowledgement."""
        self._forget_another_log()
        require(seq <= link.told, ACKS, f"acknowledged {seq}, and was told {link.told} ops")
        require(seq >= link.acked, ACKS, f"acknowledged {seq} after {link.acked}")
        link.acked = seq
        self._was_in = True
        self._acked = max(self._acked, seq)
        self._has_proof = bool(self.room.log.proofs)

    def sync(self, link: Link, sync: Message, answered: Collection[str]) -> None:
        """Judge a sync; `answered` are the ids of those whose outcome the client has reported."""
        sync_id, ops, base = sync["id"], sync["ops"], sync["base"]
        require(base <= link.told, BASE, f"sent the base {base}, and was told {link.told} ops")
        for other, sent in self._syncs.items():
            again = other != sync_id and any(op in sent for op in ops)
            require(not again, SYNC_IDS, "sent the same ops again under another id")
        same = self._syncs.setdefault(sync_id, ops) == ops
        require(same, SYNC_IDS, "sent other ops under the same id")
        require(sync_id not in answered, ONCE, "sent one again whose outcome it has reported")
        require(sync_id not in link.syncs, ONCE, "sent one twice on the same connection")
        link.syncs.add(sync_id)

    def _forget_another_log(self) -> None:
        if self._log is not self.room.log:
            self._log, self._acked, self._has_proof = self.room.log, 0, False
