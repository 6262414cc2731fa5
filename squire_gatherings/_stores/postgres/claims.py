"""The claims: which gatherings are ours, under which epochs, and where their logs end.

A gathering is ours if its row says so. It is taken only where it has no owner: none was ever
written, or the one that was is gone, or was declared dead. A statement sees nodes as they were when
it began, so it takes only what nobody has taken since. The epoch then is one that no other claim
has had. What is known of those that are ours is where the next append must fit.
"""

from collections.abc import Iterable, Sequence
from threading import Lock

from attrs import define, field

from squire_gatherings._stores.postgres.link import Connection
from squire_gatherings._stores.postgres.schema import statement

AT_ONCE = 3
"""So often is asked who has a gathering that somebody else takes at the same moment."""

MOST_KNOWN = 100_000
"""Of how many gatherings the ends are remembered; of others they are read again."""

_CLAIM = """
WITH wanted AS (
    SELECT w.id, g.key, g.owner_epoch,
        %(takes)s AND (g.owner IS NULL OR n.key IS NULL) AS is_free
    FROM unnest(%(ids)b::text[]) AS w (id)
    LEFT JOIN {s}.gatherings AS g ON g.id = w.id COLLATE "C"
    LEFT JOIN {s}.nodes AS n ON n.key = g.owner AND n.state <> 'dead'
), us AS (
    SELECT key FROM {s}.nodes WHERE key = %(node)s AND state <> 'dead'
), made AS (
    INSERT INTO {s}.gatherings AS g (id, owner, owner_epoch, chain, before)
    SELECT w.id, us.key, nextval('{s}.owner_epochs'), coalesce(t.head, ''), coalesce(t.head, '')
    FROM wanted AS w CROSS JOIN us LEFT JOIN {s}.tombstones AS t ON t.id = w.id COLLATE "C"
    WHERE w.key IS NULL AND %(takes)s ORDER BY w.id COLLATE "C"
    ON CONFLICT (id) DO NOTHING
    RETURNING g.id, g.key, g.owner, g.owner_epoch, g.head, g.chain
), locked AS (
    SELECT g.key FROM {s}.gatherings AS g JOIN wanted AS w ON w.key = g.key
    WHERE w.is_free AND g.owner_epoch = w.owner_epoch ORDER BY g.key FOR UPDATE OF g
), taken AS (
    UPDATE {s}.gatherings AS g SET owner = us.key, owner_epoch = nextval('{s}.owner_epochs'),
        arrived = EXISTS (SELECT FROM {s}.sleepers AS s WHERE s.gathering = g.id)
            OR EXISTS (SELECT FROM {s}.incarnations AS i WHERE i.gathering = g.id)
    FROM locked JOIN wanted AS w USING (key) CROSS JOIN us
    WHERE g.key = locked.key AND g.owner_epoch = w.owner_epoch
    RETURNING g.id, g.key, g.owner, g.owner_epoch, g.head, g.chain
), found AS (
    SELECT * FROM made
    UNION ALL
    SELECT * FROM taken
    UNION ALL
    SELECT g.id, g.key, g.owner, g.owner_epoch, g.head, g.chain
    FROM wanted AS w JOIN {s}.gatherings AS g ON g.key = w.key WHERE NOT w.is_free
)
SELECT f.id, f.key, f.owner, f.owner_epoch, f.head, f.chain,
    coalesce((SELECT epoch FROM {s}.ops WHERE gathering = f.key AND epoch IS NOT NULL
        ORDER BY seq DESC LIMIT 1),
        (SELECT epoch_before FROM {s}.gatherings WHERE key = f.key), ''),
    EXISTS (SELECT FROM {s}.tombstones AS t WHERE t.id = f.id COLLATE "C")
FROM found AS f
"""


@define(eq=False)
class Owned:
    """What is known of a gathering that is ours."""

    key: int
    owner_epoch: int
    head: int
    """Its last seq."""
    chain: bytes
    """The head of its chain after that."""
    epoch: str
    """The epoch of the op `head`."""
    was_deleted: bool
    """Whether an earlier log of this id was deleted: then an append shows which one it goes on."""


@define(eq=False)
class Claims:
    """What is ours. Used on the writer's thread, but for `forget`."""

    schema: str
    node: int = 0
    """The key of the node that we are."""
    takes: bool = True
    """Whether an append, or a load, makes a gathering ours that has no owner. Not so where a hall
    claims each of them before."""
    _owned: dict[str, Owned] = field(factory=dict)
    _lock: Lock = field(factory=Lock)

    def known(self) -> dict[str, Owned]:
        """Return what is known of all gatherings that are ours, at this moment."""
        with self._lock:
            return dict(self._owned)

    def get(self, gathering: str) -> Owned | None:
        """Return what is known of a gathering, if it is ours and known."""
        return self._owned.get(gathering)

    def forget(self, *gatherings: str) -> None:
        """Forget what is known of these: it is read again. From any thread."""
        with self._lock:
            for one in gatherings:
                self._owned.pop(one, None)

    def forget_all(self) -> None:
        """Forget all that is known."""
        with self._lock:
            self._owned.clear()

    def claim(
        self, connection: Connection, gatherings: Iterable[str], *, takes: bool | None = None
    ) -> dict[str, int | None]:
        """Make gatherings ours that have no owner, and read of all that are ours where they end.

        Args:
            connection: To the database.
            gatherings: Their ids.
            takes: Whether those that have none are made ours; by default `takes` says.

        Returns:
            The key of each one's owner; None where nobody has it: it wasn't to be taken, or we
            were declared dead.
        """
        owners: dict[str, int | None] = dict.fromkeys(sorted(set(gatherings)))
        for _ in range(AT_ONCE):
            unknown = [one for one, owner in owners.items() if owner is None]
            if not unknown:
                break
            # A statement doesn't see who takes something after its beginning; the next one does.
            owners.update(self._claim(connection, unknown, takes=takes))
        return owners

    def _claim(
        self, connection: Connection, wanted: Sequence[str], *, takes: bool | None
    ) -> dict[str, int]:
        owners: dict[str, int] = {}
        rows = connection.execute(
            statement(_CLAIM, self.schema),
            {
                "ids": list(wanted),
                "node": self.node,
                "takes": self.takes if takes is None else takes,
            },
            binary=True,
        ).fetchall()
        found: dict[str, Owned] = {}
        for gathering, key, owner, owner_epoch, head, chain, epoch, was_deleted in rows:
            owners[gathering] = owner
            if owner == self.node:
                # One that is no text any more is told by those who read the log.
                epoch = epoch.decode(errors="surrogateescape")
                found[gathering] = Owned(key, owner_epoch, head, chain, epoch, was_deleted)
        with self._lock:
            self._owned.update(found)
            if len(self._owned) > MOST_KNOWN:
                for one in list(self._owned)[: len(self._owned) - MOST_KNOWN // 2]:
                    if one not in found:
                        del self._owned[one]
        return owners
