"""The batch: the appends of many gatherings, as one statement writes them.

The statement moves the ends of all logs that end where the batch goes on, under the epochs under
which they are ours, and writes the rows of just these: all of it, or nothing. It's a transaction by
itself: one way to the database and back.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, LiteralString

from attrs import define, field

from squire_gatherings._rules.chain import head_of
from squire_gatherings._stores.postgres.claims import Owned
from squire_gatherings._stores.postgres.link import Connection
from squire_gatherings._stores.postgres.schema import statement
from squire_gatherings._values.log import Append

MOST_BYTES = 4 << 20
"""About how many bytes one statement takes at most, unless one append has more."""
ROW_BYTES = 500
"""What an append, and each of its ops, count for besides the ops' bytes: time, above all."""

_MOVED = """
WITH moved AS (
    UPDATE {s}.gatherings AS g SET head = b.head, chain = b.chain
    FROM unnest(%(keys)s::bigint[], %(owner_epochs)s::bigint[], %(before)s::bigint[],
        %(chains_before)b::bytea[], %(heads)s::bigint[], %(chains)b::bytea[])
        AS b (key, owner_epoch, before, chain_before, head, chain)
    WHERE g.key = b.key AND g.owner = %(node)s AND g.owner_epoch = b.owner_epoch
        AND g.head = b.before AND g.chain = b.chain_before
    RETURNING g.key
)"""
_OPS = """, new_ops AS (
    INSERT INTO {s}.ops (gathering, seq, by, op, time, epoch, head)
    SELECT o.* FROM unnest(%(op_keys)s::bigint[], %(seqs)s::bigint[], %(by)b::bytea[],
        %(ops)b::bytea[], %(times)s::bigint[], %(epochs)b::bytea[], %(op_heads)b::bytea[])
        AS o (key, seq, by, op, time, epoch, head)
    JOIN moved USING (key)
), new_syncs AS (
    INSERT INTO {s}.syncs (gathering, scope, id, first_seq, count, fingerprint)
    SELECT o.* FROM unnest(%(sync_keys)s::bigint[], %(scopes)b::bytea[], %(ids)b::bytea[],
        %(first_seqs)s::bigint[], %(counts)s::bigint[], %(fingerprints)b::bytea[])
        AS o (key, scope, id, first_seq, count, fingerprint)
    JOIN moved USING (key)
)"""
_SNAPSHOTS = """, new_snapshots AS (
    INSERT INTO {s}.snapshots (gathering, seq, state, digest)
    SELECT o.* FROM unnest(%(snapshot_keys)s::bigint[], %(snapshot_seqs)s::bigint[],
        %(states)b::bytea[], %(digests)b::bytea[]) AS o (key, seq, state, digest)
    JOIN moved USING (key)
    ON CONFLICT (gathering, seq) DO UPDATE SET state = excluded.state, digest = excluded.digest
)"""
_KEYS = " SELECT key FROM moved"


@define(eq=False)
class _End:
    """Where a log ends before a batch and after it."""

    owned: Owned
    head: int
    chain: bytes
    epoch: str


@define(eq=False)
class Batch:
    """Appends that are to be written together, as columns of rows."""

    _ends: dict[int, _End] = field(factory=dict)
    """By the keys of gatherings."""
    _ops: list[tuple[Any, ...]] = field(factory=list)
    _syncs: list[tuple[Any, ...]] = field(factory=list)
    _snapshots: list[tuple[Any, ...]] = field(factory=list)
    size: int = 0
    """About how many bytes it has."""

    @property
    def is_full(self) -> bool:
        """Whether what comes next goes into a statement of its own."""
        return self.size >= MOST_BYTES

    def add(self, owned: Owned, append: Append) -> bool:
        """Add an append, if it goes on where the log, and what is added already, end.

        Raises:
            ValueError: It has what no row can have.
        """
        key = owned.key
        end = self._ends.get(key)
        if end is None:
            end = _End(owned, owned.head, owned.chain, owned.epoch)
        if append.first_seq != end.head + 1:
            return False
        rows, epoch = op_rows(key, append, end.epoch)
        syncs = [
            (key, s.scope.encode(), s.id.encode(), s.first_seq, s.count, s.fingerprint)
            for s in append.syncs
        ]
        self._ops += rows
        self._syncs += syncs
        self.size += ROW_BYTES + sum([len(one.json) + ROW_BYTES for one in append.ops])
        if append.snapshot is not None:
            one = append.snapshot
            self.size += len(one.state)
            self._snapshots.append((key, one.seq, one.state, one.digest))
        if rows:
            end.head, end.chain, end.epoch = append.last_seq, rows[-1][-1] or b"", epoch
        self._ends[key] = end
        return True

    def chain_of(self, owned: Owned) -> bytes:
        """Return the head of the chain after what is added already."""
        end = self._ends.get(owned.key)
        return owned.chain if end is None else end.chain

    @property
    def with_snapshots(self) -> set[int]:
        """The keys of the gatherings of which there are snapshots."""
        return {row[0] for row in self._snapshots}

    def write(self, connection: Connection, schema: str, node: int) -> set[int]:
        """Write all that fits, and what is known of that brought up to date.

        Args:
            connection: To the database.
            schema: The store's schema.
            node: The key of the node that we are.

        Returns:
            The keys of the gatherings whose appends are durable.

        Raises:
            psycopg.Error: Nothing was written, or nobody knows.
        """
        if not self._ends:
            return set()
        text, values = self.as_statement(node)
        rows = connection.execute(statement(text, schema), values, binary=True).fetchall()
        return self.moved(key for [key] in rows)

    def moved(self, keys: Iterable[int]) -> set[int]:
        """Note that these gatherings' appends are durable."""
        moved = set(keys)
        for key in moved:
            end = self._ends[key]
            end.owned.head, end.owned.chain, end.owned.epoch = end.head, end.chain, end.epoch
        return moved

    def as_statement(self, node: int) -> tuple[LiteralString, dict[str, Any]]:
        """Return the statement that writes all, and its values."""
        ends = self._ends.values()
        values: dict[str, Any] = {
            "node": node,
            "keys": _numbers(self._ends),
            "owner_epochs": _numbers(one.owned.owner_epoch for one in ends),
            "before": _numbers(one.owned.head for one in ends),
            "chains_before": [one.owned.chain for one in ends],
            "heads": _numbers(one.head for one in ends),
            "chains": [one.chain for one in ends],
        }
        with_ops = bool(self._ops or self._syncs)
        if with_ops:
            keys, seqs, by, ops, times, epochs, heads = _columns(self._ops, 7)
            values |= {
                "op_keys": _numbers(keys),
                "seqs": _numbers(seqs),
                "by": by,
                "ops": ops,
                "times": _numbers(times),
                "epochs": epochs,
                "op_heads": heads,
            }
            keys, scopes, ids, first_seqs, counts, fingerprints = _columns(self._syncs, 6)
            values |= {
                "sync_keys": _numbers(keys),
                "scopes": scopes,
                "ids": ids,
                "first_seqs": _numbers(first_seqs),
                "counts": _numbers(counts),
                "fingerprints": fingerprints,
            }
        if self._snapshots:
            keys, seqs, states, digests = _columns(self._snapshots, 4)
            values |= {
                "snapshot_keys": _numbers(keys),
                "snapshot_seqs": _numbers(seqs),
                "states": states,
                "digests": digests,
            }
        return _text(with_ops, bool(self._snapshots)), values


@cache
def _text(with_ops: bool, with_snapshots: bool) -> LiteralString:
    text: LiteralString = _MOVED
    if with_ops:
        text += _OPS
    if with_snapshots:
        text += _SNAPSHOTS
    return text + _KEYS


def op_rows(key: int, append: Append, epoch: str) -> tuple[list[tuple[Any, ...]], str]:
    """Return the rows of an append's ops, and the epoch of the last one."""
    rows: list[tuple[Any, ...]] = []
    for seq, one in enumerate(append.ops, start=append.first_seq):
        is_same = one.epoch == epoch
        epoch = one.epoch
        rows.append(
            (
                key,
                seq,
                None if one.by is None else one.by.encode(),
                one.json,
                one.time,
                None if is_same else epoch.encode(),
                None,
            )
        )
    if rows and head_of(append):
        rows[-1] = (*rows[-1][:-1], append.head)
    return rows, epoch


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[]] * width


def _numbers(values: Iterable[int]) -> str:
    """Return numbers as PostgreSQL writes an array: always of the same type, however large."""
    return f"{{{','.join(map(str, values))}}}"
