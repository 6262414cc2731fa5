"""The rows of gatherings that sleep: written many at once, and deleted when they wake or end.

Each is MessagePack, with a digest by which `verify` sees whether it was changed.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext

import msgspec

from squire_gatherings._stores.kept import read_sleeper, sleeper_row
from squire_gatherings._stores.sqlite.tables import Row, insert_rows
from squire_gatherings._stores.sqlite.transactions import writing
from squire_gatherings._stores.sqlite.writer import without_flushing
from squire_gatherings._values.sleep import Slept

_log = logging.getLogger(__name__)


def write(
    database: sqlite3.Connection,
    asleep: Sequence[Slept],
    awake: Sequence[str],
    check: Callable[[], None],
) -> None:
    """Commit who sleeps, and who doesn't any more. Where some only wake, nothing is flushed.

    Args:
        database: Where to.
        asleep: Those that sleep.
        awake: The incarnations of those that don't.
        check: Raises `StoreUnavailable` if it went where nobody will find it.
    """
    rows: list[Row] = []
    for one in asleep:
        rows.append((one.state.incarnation, one.gathering, *sleeper_row(one)))
    with nullcontext() if rows else without_flushing(database), writing(database):
        insert_rows(
            database,
            "sleepers (incarnation, gathering, state, digest)",
            rows,
            on_conflict="ON CONFLICT (incarnation) DO UPDATE SET"
            " state = excluded.state, digest = excluded.digest",
        )
        if awake:
            forget(database, awake)
    check()


def forget(database: sqlite3.Connection, incarnations: Sequence[str]) -> None:
    """Delete the rows of incarnations; a transaction is the caller's."""
    database.execute(
        "DELETE FROM sleepers WHERE incarnation IN (SELECT value FROM json_each(?))",
        (msgspec.json.encode(incarnations).decode(),),
    )


def left(database: sqlite3.Connection) -> tuple[Slept, ...]:
    """Return who slept when earlier halls ended; the journal must have been folded."""
    return tuple(_whose_logs_are_as_then(database))


def _whose_logs_are_as_then(database: sqlite3.Connection) -> Iterator[Slept]:
    rows = database.execute(
        "SELECT sleepers.gathering, state, digest, coalesce(gatherings.head, 0),"
        " CASE WHEN first_seq > gatherings.head THEN before ELSE ops.head END FROM sleepers"
        " LEFT JOIN gatherings ON gatherings.id = sleepers.gathering"
        " LEFT JOIN ops ON ops.gathering = gatherings.key AND ops.seq = gatherings.head"
        " ORDER BY incarnation"
    )
    for gathering, encoded, digest, seq, head in rows:
        try:
            one = read_sleeper(encoded, digest)
        except (ValueError, msgspec.MsgspecError) as error:
            extra = {"gathering": gathering, "why": str(error)}
            _log.error("a gathering that slept is lost", extra=extra)
            continue
        if one.state.seq == seq and (head is None or head.startswith(one.state.beginning)):
            yield one
        # Otherwise it woke later, and a loss of power has brought the row back; or its log was
        # changed by another program.
