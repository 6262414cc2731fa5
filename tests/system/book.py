"""The book: a behaviour that refuses, merges, conflicts and fails when an op tells it to."""

from collections.abc import Sequence
from typing import Any
from zlib import crc32

from squire_gatherings import Op, OpConflict, OpRejected, Stamp, Submission

KINDS = ("plain", "reject", "strict", "merge", "judge fails", "fold fails")
FAILS = ("judge fails", "fold fails")


class Boom(Exception):
    """The error that a behaviour raises when it is told to fail."""


class Book:
    """Counts its ops, and sums them up in their order: no two logs have the same state.

    An op is `{"k": its key, "do": what it tells the book to do}`.
    """

    serves_snapshots = False
    fails = True

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0

    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        for op in ops:
            match op.value["do"]:
                case "reject":
                    raise OpRejected("as it was told")
                case "strict" if submission.is_stale:
                    raise OpConflict("as it was told")
                case "judge fails" if self.fails:
                    raise Boom("judge")
        if submission.is_stale and any(op.value["do"] == "merge" for op in ops):
            return [Op.of(merged(op.value)) for op in ops]
        return ops

    def fold(self, op: Op, stamp: Stamp) -> None:
        if op.value["do"] == "fold fails" and self.fails:
            raise Boom("fold")
        self.count += 1
        self.sum = crc32(op.value["k"].encode(), self.sum)

    def snapshot(self) -> Any:
        return [self.count, self.sum]

    def restore(self, snapshot: Any) -> None:
        self.count, self.sum = snapshot


class SnapshotBook(Book):
    """A book whose state newcomers are given."""

    serves_snapshots = True


class TameBook(Book):
    """The client's book, which never fails: only the server's may."""

    fails = False


class TameSnapshotBook(SnapshotBook):
    """The client's book, where the server gives its state to newcomers."""

    fails = False


def merged(op: dict[str, Any]) -> dict[str, Any]:
    """Return what is logged in place of an op that was made on an old base."""
    return {**op, "merged": True}


def state_of(keys: Sequence[str]) -> list[int]:
    """Return the state after ops with these keys."""
    total = 0
    for key in keys:
        total = crc32(key.encode(), total)
    return [len(keys), total]
