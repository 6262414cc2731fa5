"""The owners: which node has a gathering, and what another one has left of it.

All calls are on a worker thread. What a node leaves is in the rows of who sleeps, and of which
incarnations are open; `claims` says how a gathering is taken.
"""

from collections.abc import Collection, Iterable, Sequence

from attrs import define, field

from squire_gatherings._stores.kept import read_event
from squire_gatherings._stores.postgres import nodes
from squire_gatherings._stores.postgres.claims import Claims
from squire_gatherings._stores.postgres.link import Connection
from squire_gatherings._stores.postgres.schema import statement
from squire_gatherings._stores.postgres.sleep import read_row
from squire_gatherings._values.claims import Claim, Estate
from squire_gatherings._values.events import LifecycleEvent, OpenIncarnation
from squire_gatherings._values.nodes import Node
from squire_gatherings._values.sleep import Slept

_LEFT = """
SELECT g.key, g.id,
    EXISTS (SELECT FROM {s}.sleepers AS s WHERE s.gathering = g.id)
        OR EXISTS (SELECT FROM {s}.incarnations AS i WHERE i.gathering = g.id)
FROM {s}.gatherings AS g WHERE g.owner = %s AND g.key > %s ORDER BY g.key LIMIT %s
"""
_GIVE = """
WITH heir AS (
    SELECT key FROM {s}.nodes WHERE id = %(to)s AND state = 'up' FOR SHARE
), given AS (
    UPDATE {s}.gatherings AS g
    SET owner = heir.key, owner_epoch = nextval('{s}.owner_epochs'), arrived = true FROM heir
    WHERE g.id = ANY(%(ids)b::text[]) AND g.owner = %(node)s
        AND EXISTS (SELECT FROM {s}.sleepers AS s WHERE s.gathering = g.id)
    RETURNING 1
)
UPDATE {s}.nodes SET given = given + 1
WHERE key = (SELECT key FROM heir) AND EXISTS (SELECT FROM given)
"""


def claim(
    connection: Connection, claims: Claims, gatherings: Iterable[str]
) -> dict[str, Claim | None]:
    """Make gatherings ours that have no owner; return who has each of them.

    None where nobody can tell: somebody else has just taken it, or we were declared dead.
    """
    schema = claims.schema
    owners = claims.claim(connection, gatherings, takes=True)
    keys = {one for one in owners.values() if one is not None}
    living = nodes.living(connection, schema, keys)
    ours = [one for one, owner in owners.items() if owner == claims.node]
    estates = _estates(connection, schema, ours)
    found: dict[str, Claim | None] = {}
    for one, owner in owners.items():
        node = None if owner is None else living.get(owner)
        owned = claims.get(one)
        if node is None:
            found[one] = None
        else:
            epoch = owned.owner_epoch if owned is not None and owner == claims.node else 0
            found[one] = Claim(one, node, epoch, estates.get(one))
    return found


def owner_of(connection: Connection, schema: str, gathering: str) -> Claim | None:
    """Return who has a gathering, if a node does that isn't declared dead."""
    row = connection.execute(
        statement(
            "SELECT owner, owner_epoch FROM {s}.gatherings WHERE id = %s AND owner IS NOT NULL",
            schema,
        ),
        (gathering,),
    ).fetchone()
    if row is None:
        return None
    node = nodes.living(connection, schema, [row[0]]).get(row[0])
    return None if node is None else Claim(gathering, node, row[1])


def release(connection: Connection, schema: str, node: int, gatherings: Collection[str]) -> None:
    """Let nobody own gatherings that are ours, and let none of them sleep."""
    with connection.transaction():
        released = connection.execute(
            statement(
                "UPDATE {s}.gatherings SET owner = NULL, arrived = false"
                " WHERE id = ANY(%b::text[]) AND owner = %s RETURNING id",
                schema,
            ),
            (list(gatherings), node),
        ).fetchall()
        connection.execute(
            statement("DELETE FROM {s}.sleepers WHERE gathering = ANY(%b::text[])", schema),
            ([one for [one] in released],),
        )


def give(
    connection: Connection, schema: str, node: int, gatherings: Sequence[str], to: Node
) -> tuple[str, ...]:
    """Give gatherings that sleep to another node; return those that aren't ours any more."""
    connection.execute(
        statement(_GIVE, schema), {"to": to.id, "ids": list(gatherings), "node": node}
    )
    ours = connection.execute(
        statement(
            "SELECT id FROM {s}.gatherings WHERE id = ANY(%b::text[]) AND owner = %s", schema
        ),
        (list(gatherings), node),
    ).fetchall()
    kept = {one for [one] in ours}
    return tuple(one for one in gatherings if one not in kept)


@define(eq=False)
class Estates:
    """How far we have looked through what dead nodes had. Used on the writer's thread."""

    _looked_at: dict[int, int] = field(factory=dict)
    """By the key of a dead node: the last gathering of its."""

    def arrived(self, connection: Connection, claims: Claims, limit: int) -> tuple[Estate, ...]:
        """Own some of what dead nodes have left; return what was left to us and isn't settled.

        It costs what they had, however many gatherings others have.
        """
        schema = claims.schema
        for dead in nodes.dead(connection, schema):
            while not self._take_some(connection, claims, dead, limit):
                pass
        rows = connection.execute(
            statement(
                "SELECT id FROM {s}.gatherings WHERE owner = %s AND arrived LIMIT %s", schema
            ),
            (claims.node, limit),
        ).fetchall()
        names = [one for [one] in rows]
        estates = _estates(connection, schema, names)
        return tuple(estates.get(one) or Estate(gathering=one) for one in names)

    def _take_some(self, connection: Connection, claims: Claims, dead: int, limit: int) -> bool:
        """Own some of what a dead node had; return whether that's enough for now."""
        schema = claims.schema
        rows = connection.execute(
            statement(_LEFT, schema), (dead, self._looked_at.get(dead, -1), limit)
        ).fetchall()
        left = [gathering for _, gathering, is_left in rows if is_left]
        if left:
            claims.claim(connection, left, takes=True)
            claims.forget(*left)
        if len(rows) < limit:
            self._looked_at.pop(dead, None)
            nodes.forget(connection, schema, dead)
            return True
        self._looked_at[dead] = rows[-1][0]
        return bool(left)


def settle(connection: Connection, schema: str, node: int, gatherings: Sequence[str]) -> None:
    """Note that what was left of gatherings was taken up."""
    connection.execute(
        statement(
            "UPDATE {s}.gatherings SET arrived = false"
            " WHERE id = ANY(%b::text[]) AND owner = %s AND arrived",
            schema,
        ),
        (list(gatherings), node),
    )


def _estates(connection: Connection, schema: str, gatherings: Sequence[str]) -> dict[str, Estate]:
    """Return what is left of gatherings of which nothing lives."""
    if not gatherings:
        return {}
    slept = _newest_sleepers(connection, schema, gatherings)
    asleep = {one.state.incarnation for one in slept.values()}
    lost: dict[str, LifecycleEvent] = {}
    opened = connection.execute(
        statement(
            "SELECT event, digest FROM {s}.incarnations WHERE gathering = ANY(%b::text[])", schema
        ),
        (list(gatherings),),
        binary=True,
    ).fetchall()
    for encoded, digest in opened:
        event = read_event(encoded, digest)
        if event.incarnation not in asleep:
            lost[event.gathering] = event
    heads = connection.execute(
        statement("SELECT id, head FROM {s}.gatherings WHERE id = ANY(%b::text[])", schema),
        (list(lost),),
    ).fetchall()
    seqs = dict(heads)
    return {
        one: Estate(
            gathering=one,
            slept=slept.get(one),
            lost=OpenIncarnation(lost[one], seqs.get(one, 0)) if one in lost else None,
        )
        for one in gatherings
        if one in slept or one in lost
    }


def _newest_sleepers(
    connection: Connection, schema: str, gatherings: Sequence[str]
) -> dict[str, Slept]:
    """Return those that sleep, by gathering: where a loss of power brought back one, the newer."""
    rows = connection.execute(
        statement(
            "SELECT s.gathering, s.state, s.digest, g.head, g.chain FROM {s}.sleepers AS s"
            " JOIN {s}.gatherings AS g ON g.id = s.gathering"
            " WHERE s.gathering = ANY(%b::text[])",
            schema,
        ),
        (list(gatherings),),
        binary=True,
    ).fetchall()
    found: dict[str, Slept] = {}
    for gathering, encoded, digest, seq, chain in rows:
        one = read_row(gathering, encoded, digest, seq, chain)
        other = found.get(gathering)
        if one is not None and (other is None or other.state.opened_at < one.state.opened_at):
            found[gathering] = one
    return found
