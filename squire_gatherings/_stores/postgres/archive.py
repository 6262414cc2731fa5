"""The archive: what is told of whole logs, and read of them append by append.

All of it happens in a transaction of the caller's, on a worker thread.
"""

from collections.abc import Iterator

from attrs import frozen

from squire_gatherings._stores.common import links_page
from squire_gatherings._stores.postgres.link import Connection
from squire_gatherings._stores.postgres.reads import find_seq_at, last_time
from squire_gatherings._stores.postgres.schema import statement
from squire_gatherings._stores.postgres.tables import (
    LogRow,
    can_be_asked,
    find_gathering,
    find_op_rows,
    find_snapshot,
    find_syncs_from,
    find_time_and_head,
    find_tombstone,
    head_after,
    ops_size,
)
from squire_gatherings._values.archive import LogInfo
from squire_gatherings._values.log import Append, LoggedOp, Snapshot, SyncRecord


@frozen
class LogsOfDatabase:
    """The logs of a database, as they are in one transaction."""

    connection: Connection
    schema: str

    def list_ids(self, after: str, limit: int) -> list[str]:
        """Return ids of logs and of tombstones, in order, from the first one after `after` on."""
        if not can_be_asked(after):
            return []
        rows = self.connection.execute(
            statement(
                "SELECT id FROM (SELECT id FROM {s}.gatherings WHERE head > 0"
                " UNION SELECT id FROM {s}.tombstones) AS every WHERE id > %s ORDER BY id LIMIT %s",
                self.schema,
            ),
            (after, limit),
        )
        return [one for [one] in rows]

    def list_logs(self, after: str, limit: int) -> tuple[LogInfo, ...]:
        """Return what there is of the next gatherings, in the order of their ids."""
        found = (self.find_info(one) for one in self.list_ids(after, limit))
        return tuple(one for one in found if one is not None)

    def find_info(self, gathering: str) -> LogInfo | None:
        """Return what there is of a gathering; None if there is nothing."""
        connection, schema = self.connection, self.schema
        tombstone = find_tombstone(connection, schema, gathering)
        log = self.log(gathering)
        if log is None:
            return None if tombstone is None else LogInfo(gathering=gathering, tombstone=tombstone)
        counted = connection.execute(
            statement("SELECT count(*) FROM {s}.syncs WHERE gathering = %s", schema), (log.key,)
        ).fetchone()
        snapshots = connection.execute(
            statement("SELECT seq FROM {s}.snapshots WHERE gathering = %s ORDER BY seq", schema),
            (log.key,),
        )
        return LogInfo(
            gathering=gathering,
            first_seq=log.first_seq,
            seq=log.head,
            first_time=find_time_and_head(connection, schema, log.key, log.first_seq)[0],
            last_time=last_time(connection, schema, log, log.head),
            size=ops_size(connection, schema, log.key),
            syncs=counted[0] if counted else 0,
            snapshots=tuple(seq for [seq] in snapshots),
            before=log.before,
            epoch_before=log.epoch_before,
            time_before=log.time_before,
            head=log.chain,
            tombstone=tombstone,
        )

    def row(self, gathering: str, *, lock: bool = False) -> LogRow | None:
        """Return the row of a gathering, if there is one."""
        return find_gathering(self.connection, self.schema, gathering, lock=lock)

    def log(self, gathering: str, *, lock: bool = False) -> LogRow | None:
        """Return the row of a log; None if there are no ops, and none were left out."""
        log = self.row(gathering, lock=lock)
        return None if log is None or not log.head else log

    def matching(self, pattern: str) -> list[str]:
        """Return the ids of the logs that match a pattern, as in a shell: `*`, `?`, `[a-z]`."""
        if not can_be_asked(pattern):
            return []
        rows = self.connection.execute(
            statement(
                "SELECT id FROM {s}.gatherings WHERE head > 0 AND id ~ %s ORDER BY id", self.schema
            ),
            (as_expression(pattern),),
        )
        return [one for [one] in rows]

    def epochs(self, gathering: str) -> list[tuple[int, str]]:
        """Return where the epoch changes in a log."""
        log = self.log(gathering)
        if log is None:
            return []
        rows = self.connection.execute(
            statement(
                "SELECT seq, epoch FROM {s}.ops WHERE gathering = %s AND epoch IS NOT NULL"
                " ORDER BY seq",
                self.schema,
            ),
            (log.key,),
            binary=True,
        )
        before = [(log.first_seq - 1, log.epoch_before)] if log.epoch_before else []
        return [*before, *((seq, epoch.decode()) for seq, epoch in rows)]

    def head_at(self, gathering: str, seq: int) -> bytes:
        """Return the head of the chain after an op; empty where no append ended."""
        log = self.log(gathering)
        return b"" if log is None else head_after(self.connection, self.schema, log, seq)

    def seq_at(self, gathering: str, time: int) -> int:
        """Return the last op whose time isn't after `time`."""
        log = self.log(gathering)
        return 0 if log is None else find_seq_at(self.connection, self.schema, log, time)

    def older_syncs(self, gathering: str) -> tuple[SyncRecord, ...]:
        """Return the syncs whose ops were left out."""
        log = self.log(gathering)
        if log is None:
            return ()
        return find_syncs_from(self.connection, self.schema, log.key, 0, log.first_seq - 1)

    def read_links(
        self, gathering: str, after: int, up_to: int, max_bytes: int
    ) -> tuple[Append, ...]:
        """Return consecutive links after the op `after`, at least one if there is any."""
        return links_page(self.links_of(gathering, after), up_to, max_bytes)

    def links_of(self, gathering: str, after: int = 0) -> Iterator[Append]:
        """Give the appends of a log after the op `after`, and the snapshots with them.

        A log that begins later than at 1 begins with an append of nothing but its snapshot.
        """
        log = self.log(gathering)
        if log is None:
            return
        if after < log.first_seq:
            after = log.first_seq - 1
            snapshot = self._snapshot_of(log.key, after)
            if snapshot is not None:
                begins_as = self._first_name(log) or gathering
                yield Append(begins_as, log.first_seq, (), (), snapshot)
        ops: list[LoggedOp] = []
        begin = after + 1
        rows = find_op_rows(self.connection, self.schema, log.key, begin, log.head)
        for seq, logged, head, name in rows:
            ops.append(logged)
            if head is None:
                continue
            yield Append(
                name or gathering,
                begin,
                tuple(ops),
                find_syncs_from(self.connection, self.schema, log.key, begin, seq),
                self._snapshot_of(log.key, seq),
                head,
            )
            begin = seq + 1
            ops.clear()

    def end_of_append(self, gathering: str, seq: int) -> int:
        """Return the last op, by the op `seq`, with which an append ended; 0 if there is none."""
        log = self.log(gathering)
        if log is None:
            return 0
        row = self.connection.execute(
            statement(
                "SELECT seq FROM {s}.ops WHERE gathering = %s AND seq <= %s"
                " AND head IS NOT NULL ORDER BY seq DESC LIMIT 1",
                self.schema,
            ),
            (log.key, seq),
        ).fetchone()
        return 0 if row is None else int(row[0])

    def _snapshot_of(self, key: int, seq: int) -> Snapshot | None:
        found = find_snapshot(self.connection, self.schema, key, seq)
        return found if found is not None and found.seq == seq else None

    def _first_name(self, log: LogRow) -> str | None:
        row = self.connection.execute(
            statement(
                "SELECT name FROM {s}.ops WHERE gathering = %s AND head IS NOT NULL"
                " ORDER BY seq LIMIT 1",
                self.schema,
            ),
            (log.key,),
        ).fetchone()
        return None if row is None else row[0]


def as_expression(pattern: str) -> str:
    """Return a shell's pattern as a regular expression of PostgreSQL's."""
    found, rest = "", pattern
    while rest:
        one, rest = rest[0], rest[1:]
        end = rest.find("]", 2 if rest[:1] in ("^", "!") else 1)
        if one == "[" and end > 0:
            inside, rest = rest[:end], rest[end + 1 :]
            negated = "^" if inside[0] in "^!" else ""
            inside = inside[len(negated) :].replace("\\", "\\\\").replace("[", "\\[")
            found += f"[{negated}{inside}]"
        elif one in "*?":
            found += {"*": ".*", "?": "."}[one]
        else:
            found += one if one.isalnum() else f"\\{one}"
    return f"^(?:{found})$"
