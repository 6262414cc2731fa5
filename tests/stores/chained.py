"""Logs with real chains, and all that a store says of a whole log."""

from collections.abc import Sequence
from typing import Any

from attrs import define, field

from squire_gatherings._hall.archive import Archive
from squire_gatherings._rules.chain import next_head, state_digest
from squire_gatherings._values.log import Append, LoggedOp, Snapshot, SyncRecord
from squire_gatherings._values.op import Op
from tests.stores.appends import FINGERPRINT


@define
class Chain:
    """Makes a log's next append from the last one."""

    gathering: str
    seq: int = 0
    head: bytes = b""
    time: int = 1000
    made: int = 0
    ops: list[LoggedOp] = field(factory=list)
    """All its ops, from the first one on."""

    def append(
        self, count: int = 1, *, snapshot: bool = False, later: int = 0, text: str = ""
    ) -> Append:
        """Make the next append, from two syncs if it has more than one op."""
        self.made += 1
        self.time += later
        first = self.seq + 1
        ops = tuple(
            LoggedOp(
                Op.of({"n": n, "made": self.made, "text": text}).json,
                "alice",
                f"e{n // 5}",
                self.time,
            )
            for n in range(first, first + count)
        )
        sizes = [1, count - 1] if count > 1 else [1]
        syncs = tuple(
            SyncRecord("0::", f"s{self.made}.{first + n}", first + n, size, FINGERPRINT)
            for n, size in enumerate(sizes)
        )
        self.head = next_head(self.head, self.gathering, first, ops, syncs)
        self.seq += count
        self.ops += ops
        kept = None
        if snapshot:
            state = b'{"n":%d}' % self.seq
            kept = Snapshot(self.seq, state, state_digest(self.head, state))
        return Append(self.gathering, first, ops, syncs, kept, self.head)


async def whole(store: Archive, gathering: str) -> tuple[Any, ...]:
    """Return all that a store says of a log."""
    info = await store.describe(gathering)
    links: list[Append] = []
    if info is not None and not info.is_deleted:
        after = 0
        while page := await store.read_links(gathering, after=after, up_to=info.seq, max_bytes=300):
            links += page
            after = max(info.first_seq - 1, links[-1].first_seq + len(links[-1].ops) - 1)
            if after >= info.seq:
                break
    return info, tuple(links), await store.older_syncs(gathering)


def ops_of(links: Sequence[Append]) -> list[LoggedOp]:
    """Return the ops of links."""
    return [one for link in links for one in link.ops]
