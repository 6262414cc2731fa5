"""One append by itself: what doesn't fit on a log, or can't be written, leaves the others alone.

Here is found what it came to. A commit whose outcome nobody knows may have succeeded after all, so
an append that is there already is durable.
"""

from typing import Any

import psycopg

from squire_gatherings._hall.store import Outcome
from squire_gatherings._rules.chain import follows
from squire_gatherings._stores.common import unstorable
from squire_gatherings._stores.postgres.batch import Batch
from squire_gatherings._stores.postgres.claims import Claims, Owned
from squire_gatherings._stores.postgres.link import Connection
from squire_gatherings._stores.postgres.schema import statement
from squire_gatherings._stores.postgres.tables import (
    can_be_asked,
    find_gathering,
    find_ops,
    find_syncs,
)
from squire_gatherings._values.errors import (
    GatheringsError,
    LogDeleted,
    StoreConflict,
    StoreUnavailable,
    TakenAway,
)
from squire_gatherings._values.log import Append

Unfitting = (psycopg.errors.UniqueViolation, psycopg.errors.CardinalityViolation)
"""What the database says of a row that is there already."""

Unwritable = (psycopg.DataError, psycopg.errors.ProgramLimitExceeded, ValueError, OverflowError)
"""What is raised over values that can't be in a row, now or ever."""


def append_alone(
    connection: Connection, claims: Claims, append: Append, given: Owned | None
) -> Outcome:
    """Write one append, or nothing of it; return what it came to.

    Args:
        connection: To the database; no transaction may be open.
        claims: What is ours.
        append: The append.
        given: What was known of the gathering before; None where that was nothing.

    Raises:
        psycopg.Error: The database can't be asked now.
    """
    try:
        with connection.transaction():
            return _append(connection, claims, append, given)
    except GatheringsError as error:
        # Another one: a variable that keeps what was raised here makes a reference cycle.
        return type(error)(*error.args)
    except Unfitting as error:
        claims.forget(append.gathering)
        return StoreConflict(f"{append.gathering}: {error.diag.message_primary}")
    except UnicodeDecodeError:
        # It's in the database, and not in the append.
        raise
    except Unwritable as error:
        claims.forget(append.gathering)
        return unstorable(append, error, can_be_written)


def can_be_written(append: Append) -> bool:
    """Return whether the values of an append can be in rows, as far as that can be told here."""
    try:
        Batch().add(Owned(0, 0, append.first_seq - 1, b"", "", False), append)
    except Unwritable:
        return False
    if not can_be_asked(append.gathering):
        return False
    numbers = [one.time for one in append.ops] + [append.last_seq]
    numbers += [s.first_seq for s in append.syncs] + [s.count for s in append.syncs]
    return all(-(2**63) <= one < 2**63 for one in numbers)


def _append(connection: Connection, claims: Claims, append: Append, given: Owned | None) -> Outcome:
    gathering = append.gathering
    log = find_gathering(connection, claims.schema, gathering, lock=True)
    tombstone = connection.execute(
        statement("SELECT 1 FROM {s}.tombstones WHERE id = %s", claims.schema), (gathering,)
    ).fetchone()
    # Seqs can't tell: those of the next log may be the same.
    conflict = StoreConflict if tombstone is None else LogDeleted
    if log is None:
        claims.forget(gathering)
        raise conflict(f"{gathering} isn't there any more")
    is_ours = log.owner == claims.node and (given is None or given.key == log.key)
    if not is_ours or (given is not None and given.owner_epoch != log.owner_epoch):
        claims.forget(gathering)
        if _is_there(connection, claims.schema, log.key, append):
            return None
        if given is not None and given.key != log.key:
            raise conflict(f"{gathering} is another log now")
        raise TakenAway(f"another node has {gathering} now")
    owned = Owned(log.key, log.owner_epoch, log.head, log.chain, log.epoch, tombstone is not None)
    if log.head == append.first_seq - 1:
        if tombstone is not None and not follows(log.chain, append):
            raise LogDeleted(f"{gathering} was deleted")
        batch = Batch()
        batch.add(owned, append)
        if log.key not in batch.write(connection, claims.schema, claims.node):
            raise StoreUnavailable(f"{gathering} couldn't be written")
        claims.forget(gathering)
        return None
    claims.forget(gathering)
    if _is_there(connection, claims.schema, log.key, append):
        return None
    raise conflict(f"{gathering} ends at {log.head}, not before {append.first_seq}")


def _is_there(connection: Connection, schema: str, key: int, append: Append) -> bool:
    """Return whether a log has just these ops, from the same syncs: equal ones of others don't."""
    if not append.ops:
        return False
    there = tuple(find_ops(connection, schema, key, append.first_seq, append.last_seq))
    if there != append.ops:
        return False
    wanted: dict[tuple[str, str], Any] = {(s.scope, s.id): s for s in append.syncs}
    return find_syncs(connection, schema, key, tuple(wanted)) == wanted
