"""The writer: commits batch after batch on its thread, and says what each append came to."""

from collections.abc import Iterable, Sequence
from functools import partial

from attrs import define

from squire_gatherings._hall.store import Outcome
from squire_gatherings._rules.chain import follows, head_of
from squire_gatherings._rules.thinning import NEWEST, superfluous
from squire_gatherings._stores.common import unstorable
from squire_gatherings._stores.group_commit import Report, Take
from squire_gatherings._stores.postgres.alone import (
    Unfitting,
    Unwritable,
    append_alone,
    can_be_written,
)
from squire_gatherings._stores.postgres.batch import Batch
from squire_gatherings._stores.postgres.claims import Claims, Owned
from squire_gatherings._stores.postgres.link import Connection, Link
from squire_gatherings._stores.postgres.schema import statement
from squire_gatherings._stores.postgres.tables import can_be_asked, ops_size
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.log import Append


@define(eq=False)
class Writer:
    """Writes appends; all calls on the writer's thread."""

    claims: Claims
    link: Link
    wanted: int = 0
    """How many others wait for the connection."""

    def append_batches(self, take: Take, report: Report, connection: Connection) -> None:
        """Commit batches as long as there are any, and nobody else waits for the connection.

        Args:
            take: Gives the next batch.
            report: Is told the outcome of each.
            connection: To the database.

        Raises:
            psycopg.Error: A batch couldn't be committed, or nobody knows whether it was.
        """
        is_first = True
        while is_first or not self.wanted:
            appends = take()
            if not appends:
                return
            outcomes = self.append_all(connection, appends)
            self.link.heard()
            report(outcomes)
            is_first = False

    def append_all(self, connection: Connection, appends: Sequence[Append]) -> list[Outcome]:
        """Commit all these that fit; return what each of them came to.

        One statement has them all, unless they are so many that it would take long.
        """
        outcomes = self._claim(connection, appends)
        given = {one.gathering: self.claims.get(one.gathering) for one in appends}
        alone: list[int] = []
        set_aside: set[str] = set()
        batch, together = Batch(), list[tuple[int, int]]()
        for number, append in enumerate(appends):
            if number in outcomes:
                continue
            gathering = append.gathering
            owned = given[gathering]
            if gathering in set_aside or owned is None or not self._fits(batch, owned, append):
                # What comes after it is looked at after it.
                set_aside.add(gathering)
                alone.append(number)
                continue
            together.append((number, owned.key))
            if batch.is_full:
                alone += self._write(connection, batch, together, outcomes)
                batch, together = Batch(), []
        alone += self._write(connection, batch, together, outcomes)
        if alone:
            self._find(connection, appends, alone, outcomes)
        for number in sorted(set(alone) - outcomes.keys()):
            append = appends[number]
            owned = given[append.gathering]
            outcomes[number] = append_alone(connection, self.claims, append, owned)
            self.link.heard()
        return [outcomes[number] for number in range(len(appends))]

    def _write(
        self,
        connection: Connection,
        batch: Batch,
        together: Sequence[tuple[int, int]],
        outcomes: dict[int, Outcome],
    ) -> list[int]:
        """Write a batch, and note what is durable; return the numbers of the others."""
        try:
            written = batch.write(connection, self.claims.schema, self.claims.node)
        except (*Unfitting, *Unwritable):
            written = set()
        self.link.heard()
        outcomes.update((number, None) for number, key in together if key in written)
        if batch.with_snapshots & written:
            self._thin_out(connection, batch.with_snapshots & written)
        return [number for number, key in together if key not in written]

    def _find(
        self,
        connection: Connection,
        appends: Sequence[Append],
        numbers: Iterable[int],
        outcomes: dict[int, Outcome],
    ) -> None:
        """Note which of some appends are there already, as their logs' chains show.

        So many may be that were committed when the connection broke.
        """
        wanted: dict[str, int] = {}
        for number in numbers:
            append = appends[number]
            if append.ops and append.before is not None and can_be_asked(append.gathering):
                wanted[append.gathering] = number
        rows = connection.execute(
            statement(
                "SELECT id, head, chain FROM {s}.gatherings WHERE id = ANY(%b::text[])",
                self.claims.schema,
            ),
            (list(wanted),),
            binary=True,
        )
        for gathering, head, chain in rows:
            append = appends[wanted[gathering]]
            if chain and (head, chain) == (append.last_seq, head_of(append)):
                outcomes[wanted[gathering]] = None
                self.claims.forget(gathering)

    def _claim(self, connection: Connection, appends: Sequence[Append]) -> dict[int, Outcome]:
        """Let all gatherings be known; return the outcomes of those that can't be."""
        claims = self.claims
        unknown = {one.gathering for one in appends if claims.get(one.gathering) is None}
        if not unknown:
            return {}
        owners = claims.claim(connection, filter(can_be_asked, unknown))
        outcomes: dict[int, Outcome] = {}
        for number, append in enumerate(appends):
            gathering = append.gathering
            if gathering not in unknown or claims.get(gathering) is not None:
                continue
            if gathering not in owners:
                outcomes[number] = unstorable(
                    append, "surrogates not allowed, nor a null character", can_be_written
                )
            elif owners[gathering] is None and claims.takes:
                outcomes[number] = StoreUnavailable(f"{gathering} can't be taken now")
        return outcomes

    def _fits(self, batch: Batch, owned: Owned, append: Append) -> bool:
        """Add an append to a batch, if it fits on the log as we know it."""
        if owned.was_deleted and not follows(batch.chain_of(owned), append):
            return False
        try:
            return batch.add(owned, append)
        except Unwritable:
            return False

    def _thin_out(self, connection: Connection, keys: set[int]) -> None:
        """Drop a snapshot of each of these, if one needn't be kept any more."""
        schema = self.claims.schema
        for key in keys:
            rows = connection.execute(
                statement(
                    "SELECT seq FROM {s}.snapshots WHERE gathering = %s ORDER BY seq DESC LIMIT %s",
                    schema,
                ),
                (key, NEWEST + 2),
            ).fetchall()
            if len(rows) <= NEWEST:
                continue
            first = connection.execute(
                statement("SELECT first_seq FROM {s}.gatherings WHERE key = %s", schema), (key,)
            ).fetchone()
            newest = [one for [one] in rows]
            size = partial(ops_size, connection, schema, key)
            dropped = superfluous(newest, first[0] if first else 1, size)
            if dropped is not None:
                connection.execute(
                    statement(
                        "DELETE FROM {s}.snapshots WHERE gathering = %s AND seq = %s", schema
                    ),
                    (key, dropped),
                )
