"""The rows of gatherings that sleep: written many at once, and deleted when they wake or end."""

import logging
from collections.abc import Iterator, Sequence

import msgspec

from squire_gatherings._stores.kept import read_sleeper, sleeper_row
from squire_gatherings._stores.postgres.claims import Claims
from squire_gatherings._stores.postgres.link import Connection
from squire_gatherings._stores.postgres.schema import statement
from squire_gatherings._stores.postgres.transactions import unflushed
from squire_gatherings._values.sleep import Slept

_log = logging.getLogger(__name__)

CLAIMED_AT_ONCE = 10_000

_FREE = """
SELECT DISTINCT s.gathering FROM {s}.sleepers AS s
LEFT JOIN {s}.gatherings AS g ON g.id = s.gathering
LEFT JOIN {s}.nodes AS n ON n.key = g.owner AND n.state <> 'dead'
WHERE n.key IS NULL
"""
_OURS = """
SELECT s.gathering, s.state, s.digest, g.head, g.chain FROM {s}.sleepers AS s
JOIN {s}.gatherings AS g ON g.id = s.gathering WHERE g.owner = %s ORDER BY incarnation
"""


def write(
    connection: Connection, schema: str, node: int, asleep: Sequence[Slept], awake: Sequence[str]
) -> None:
    """Commit who sleeps, and who doesn't any more, of the gatherings that a node has.

    Where some only wake, nothing is flushed.
    """
    with connection.transaction() if asleep else unflushed(connection):
        if asleep:
            rows = {one.state.incarnation: (one.gathering, *sleeper_row(one)) for one in asleep}
            gatherings, states, digests = zip(*rows.values(), strict=True)
            connection.execute(
                statement(
                    "INSERT INTO {s}.sleepers (incarnation, gathering, state, digest)"
                    " SELECT r.* FROM unnest(%b::text[], %b::text[], %b::bytea[], %b::bytea[])"
                    " AS r (incarnation, gathering, state, digest)"
                    ' JOIN {s}.gatherings AS g ON g.id = r.gathering COLLATE "C"'
                    " JOIN {s}.nodes AS n ON n.key = g.owner"
                    " WHERE n.key = %s AND n.state <> 'dead'"
                    " FOR SHARE OF g FOR KEY SHARE OF n"
                    " ON CONFLICT (incarnation) DO UPDATE SET state = excluded.state,"
                    " digest = excluded.digest",
                    schema,
                ),
                (list(rows), list(gatherings), list(states), list(digests), node),
            )
        if awake:
            connection.execute(
                statement(
                    "DELETE FROM {s}.sleepers AS s USING {s}.gatherings AS g, {s}.nodes AS n"
                    " WHERE s.incarnation = ANY(%b::text[]) AND g.id = s.gathering"
                    " AND n.key = g.owner AND n.key = %s AND n.state <> 'dead'",
                    schema,
                ),
                (list(awake), node),
            )


def forget(connection: Connection, schema: str, incarnations: Sequence[str]) -> None:
    """Delete the rows of incarnations; a transaction is the caller's."""
    connection.execute(
        statement("DELETE FROM {s}.sleepers WHERE incarnation = ANY(%b::text[])", schema),
        (list(incarnations),),
    )


def left(connection: Connection, claims: Claims) -> tuple[Slept, ...]:
    """Take the sleepers that have no owner, and return all of ours whose logs are as then."""
    schema = claims.schema
    free = [one for [one] in connection.execute(statement(_FREE, schema)).fetchall()]
    for start in range(0, len(free), CLAIMED_AT_ONCE):
        claims.claim(connection, free[start : start + CLAIMED_AT_ONCE])
    # What is known of a gathering is read when it wakes.
    claims.forget(*free)
    return tuple(_whose_logs_are_as_then(connection, claims))


def _whose_logs_are_as_then(connection: Connection, claims: Claims) -> Iterator[Slept]:
    rows = connection.execute(statement(_OURS, claims.schema), (claims.node,), binary=True)
    for row in rows:
        one = read_row(*row)
        if one is not None:
            yield one


def read_row(gathering: str, encoded: bytes, digest: bytes, seq: int, chain: bytes) -> Slept | None:
    """Return one that sleeps, if its log is as it was when it fell asleep.

    Args:
        gathering: The gathering.
        encoded: The row.
        digest: Its digest.
        seq: The last op of the log.
        chain: The head of its chain.
    """
    try:
        one = read_sleeper(encoded, digest)
    except (ValueError, msgspec.MsgspecError) as error:
        extra = {"gathering": gathering, "why": str(error)}
        _log.error("a gathering that slept is lost", extra=extra)
        return None
    # Otherwise it woke later, and a loss of power has brought the row back; or its log was changed
    # by another program.
    is_as_then = one.state.seq == seq and chain.startswith(one.state.beginning)
    return one if is_as_then else None
