"""A gathering's log, as a story writes it, and the parts of messages that are made of it."""

import hashlib
from typing import Any

import msgspec
from attrs import define, field, frozen

BEGAN = 1767225600000
"""The time of a log's beginning, in milliseconds since 1970."""


@frozen
class Entry:
    """One op of a log."""

    op: dict[str, Any]
    by: str | None
    is_own: bool
    """Whether the client under test submitted it."""
    epoch: str
    sync: tuple[int, int, str]
    """The sync that it came from: its first seq, how many ops it had, its id."""


@define
class Log:
    """Ops by their seqs, from 1 on."""

    name: str = ""
    """Tells it from another log that has the same seqs."""
    entries: list[Entry] = field(factory=list)
    gone: range = range(0)
    """Seqs that were left out before the client had them."""
    proofs: list[dict[str, Any]] = field(factory=list)
    """What was told that proves it."""

    @property
    def seq(self) -> int:
        """The seq of the last op."""
        return len(self.entries)

    @property
    def ops(self) -> list[dict[str, Any]]:
        """All ops that a client can have, in order."""
        return [one.op for seq, one in enumerate(self.entries, 1) if seq not in self.gone]

    def changes_after(self, seq: int) -> dict[int, Entry]:
        """Return what a client sees others do after the op `seq`, by seqs."""
        return {
            number: one
            for number, one in enumerate(self.entries, 1)
            if number > seq and not one.is_own and number not in self.gone
        }

    def append(
        self,
        ops: list[dict[str, Any]],
        by: str | None,
        epoch: str,
        *,
        sync_id: str,
        is_own: bool = False,
    ) -> list[int]:
        """Append the ops of a sync; return their seqs."""
        first = self.seq + 1
        sync = (first, len(ops), sync_id)
        self.entries += [Entry(op, by, is_own, epoch, sync) for op in ops]
        return list(range(first, first + len(ops)))

    def epoch_of(self, seq: int) -> str:
        """Return the epoch of an op."""
        return self.entries[seq - 1].epoch

    def prove(self) -> dict[str, Any] | None:
        """Return what proves the log as it is; None without ops. No client can check it."""
        if not self.entries:
            return None
        data = msgspec.json.encode([self.name, [one.op for one in self.entries]])
        head = hashlib.blake2b(data, digest_size=32).hexdigest()
        self.proofs.append({"seq": self.seq, "head": head})
        return self.proofs[-1]

    def page(
        self, after: int, up_to: int, incarnation: str, join: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the ops from `after` + 1 to `up_to` as fields of a message, for who joined so."""
        entries = self.entries[after:up_to]
        fields: dict[str, Any] = {
            "ops": [entry.op for entry in entries],
            "by": [entry.by for entry in entries],
        }
        if up_to and self.epoch_of(up_to) != incarnation:
            fields["epoch"] = self.epoch_of(up_to)
        if join.get("times"):
            fields["times"] = [BEGAN + seq for seq in range(after + 1, after + len(entries) + 1)]
        if join.get("syncs"):
            fields["syncs"] = sorted({entry.sync for entry in entries})
        return fields
