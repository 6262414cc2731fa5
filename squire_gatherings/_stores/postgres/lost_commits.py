"""Lost commits: whether a database still has all that it has said to have committed.

One that failed over to a standby that lagged behind, or was restored from a backup, hasn't. After
each new connection the ends of the logs that are ours are compared with what we know of them.
"""

import logging
from collections.abc import Iterator, Mapping
from itertools import islice

from attrs import define, field

from squire_gatherings._stores.postgres.claims import Claims, Owned
from squire_gatherings._stores.postgres.link import Connection, Server
from squire_gatherings._stores.postgres.schema import statement

_log = logging.getLogger(__name__)

AT_ONCE = 10_000
"""How many logs are compared with one statement."""

TOLD = 10
"""How many of those that have lost something are named in the log."""

_LACKING = """
SELECT o.key FROM unnest(%b::bigint[], %b::bigint[], %b::bytea[]) AS o (key, head, chain)
LEFT JOIN {s}.gatherings AS g ON g.key = o.key
WHERE g.key IS NULL AND NOT EXISTS (SELECT FROM {s}.tombstones AS t WHERE t.head = o.chain)
    OR g.head < o.head OR g.head = o.head AND g.chain <> o.chain
"""


@define(eq=False)
class LostCommits:
    """Looks for what was lost. Used on the writer's thread."""

    claims: Claims
    count: int = 0
    """In how many logs something was lost so far."""
    others: int = 0
    """How often the database was another one than before, or had lost something."""
    _server: Server | None = field(default=None)

    def look(self, connection: Connection, server: Server) -> None:
        """Compare what a new connection has led to with what we know."""
        before, self._server = self._server, server
        known = self.claims.known()
        lost = [
            gathering
            for part in _parts(known)
            for gathering in _lacking(connection, self.claims.schema, part)
        ]
        if before is not None and before != server:
            self.others += 1
            which = {
                "before": f"{before.identifier}/{before.timeline}",
                "now": f"{server.identifier}/{server.timeline}",
            }
            _log.warning("the database is another server's now", extra=which)
        if lost:
            self.count += len(lost)
            self.others += 1
            self.claims.forget(*lost)
            told = {"gatherings": len(lost), "some": " ".join(sorted(lost)[:TOLD])}
            _log.error("the database has lost commits that were acknowledged", extra=told)


def _parts(known: Mapping[str, Owned]) -> Iterator[dict[str, Owned]]:
    left = iter(known.items())
    while part := dict(islice(left, AT_ONCE)):
        yield part


def _lacking(connection: Connection, schema: str, part: Mapping[str, Owned]) -> list[str]:
    owned = list(part.values())
    rows = connection.execute(
        statement(_LACKING, schema),
        ([one.key for one in owned], [one.head for one in owned], [one.chain for one in owned]),
    ).fetchall()
    names = {one.key: gathering for gathering, one in part.items()}
    return [names[key] for [key] in rows]
