"""Whether what a client reports fits a log: each op of others once, in order, none of its own."""

from typing import Any

from squire_gatherings._conform.logs import Entry, Log


def wrong_changes(reported: list[dict[str, Any]], log: Log, begins_after: int) -> str | None:
    """Return what is wrong with changes so far; None if they are the first of those to come.

    Args:
        reported: The reports.
        log: The log as it is.
        begins_after: The seq after which changes are reported.
    """
    due = list(log.changes_after(begins_after).items())
    seen: set[int] = set()
    for number, change in enumerate(reported):
        seq = change["seq"]
        if seq in seen:
            return f"reported the op {seq} twice"
        seen.add(seq)
        expected = due[number] if number < len(due) else (None, None)
        if seq != expected[0]:
            return _out_of_place(seq, expected[0], log, begins_after)
        wrong = _wrong_content(change, expected[1])
        if wrong is not None:
            return wrong
    return None


def missing_changes(reported: list[dict[str, Any]], log: Log, begins_after: int) -> list[int]:
    """Return the seqs of the changes that aren't reported yet."""
    seen = {change["seq"] for change in reported}
    return [seq for seq in log.changes_after(begins_after) if seq not in seen]


def _out_of_place(seq: int, expected: int | None, log: Log, begins_after: int) -> str:
    if not 1 <= seq <= log.seq:
        return f"reported an op {seq}, which the log doesn't have"
    if log.entries[seq - 1].is_own:
        return f"reported its own op {seq} as somebody else's"
    if seq <= begins_after:
        return f"reported the op {seq}, from before its join, as a change"
    return f"reported the op {seq} where {expected} comes next"


def _wrong_content(change: dict[str, Any], entry: Entry | None) -> str | None:
    assert entry is not None
    seq = change["seq"]
    if change["op"] != entry.op:
        return f"reported another op {seq} than it was sent"
    if "by" in change and change["by"] != entry.by:
        return f"reported that the op {seq} is by {change['by']!r}, and it is by {entry.by!r}"
    return None


def wrong_state(ops: list[Any], log: Log) -> str | None:
    """Return what is wrong with the ops that a client has; None if they are the log's."""
    expected = log.ops
    if ops == expected:
        return None
    for number, op in enumerate(ops):
        seq = number + 1
        if number < len(expected) and op == expected[number]:
            continue
        if op in ops[:number]:
            return f"has the op that is number {ops.index(op) + 1} again as number {seq}"
        if number >= len(expected):
            return f"has {len(ops)} ops, and the log has {len(expected)}"
        if op in expected:
            return f"has the op {expected.index(op) + 1} as number {seq}"
        return f"has another op {seq} than the log"
    return f"has {len(ops)} ops, and the log has {len(expected)}"
