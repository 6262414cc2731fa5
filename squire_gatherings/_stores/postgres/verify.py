"""The verification: whether a database has what was committed to it, to the byte.

Every chain is computed anew from the ops. What differs from the heads that were stored, or from a
snapshot's digest, was changed afterwards. It only reads, also a standby. What is wrong with pages
and indexes PostgreSQL itself finds (`pg_amcheck`, checksums of pages).
"""

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any, LiteralString

import msgspec
from attrs import define, field

from squire_gatherings._rules.chain import (
    HEAD_SIZE,
    sealed_time,
    tombstone_digest,
    unsealed_time,
)
from squire_gatherings._rules.links import checked
from squire_gatherings._stores.findings import Progress, Proven, Report
from squire_gatherings._stores.kept import read_event, read_sleeper
from squire_gatherings._stores.postgres.archive import LogsOfDatabase
from squire_gatherings._stores.postgres.offline import opened
from squire_gatherings._stores.postgres.schema import OF_A_GATHERING, statement
from squire_gatherings._stores.postgres.tables import LogRow
from squire_gatherings._stores.postgres.transactions import one_moment
from squire_gatherings._values.errors import StoreConflict
from squire_gatherings._values.log import Append

_UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, AttributeError)
"""What reading, or computing with, values raises that can't be what was written."""


def verify(url: str, gatherings: Collection[str], progress: Progress) -> Report:
    """Verify a store's database, as it is at one moment.

    Args:
        url: The database's.
        gatherings: The ids of those to be verified; if there are none, all of them are, and all
            else that the store has.
        progress: Is told now and then how far it is.

    Returns:
        What was found.

    Raises:
        BadSetting: It isn't such a URL.
        StoreUnusable: The database has no store, or one of another version.
        StoreUnavailable: It can't be read now.
        BaseException: Whatever `progress` raises.
    """
    with opened(url, _never) as (connection, schema), one_moment(connection):
        return verify_logs(LogsOfDatabase(connection, schema), gatherings, progress)


def verify_logs(logs: LogsOfDatabase, gatherings: Collection[str], progress: Progress) -> Report:
    """Verify a store, as it is in a transaction of the caller's; see `verify`."""
    return _Verification(logs, progress).run(gatherings)


@define(eq=False)
class _Verification:
    """One verification, within one transaction."""

    logs: LogsOfDatabase
    progress: Progress
    report: Report = field(factory=Report)
    _all: int = 0

    def run(self, gatherings: Collection[str]) -> Report:
        [(self._all,)] = self._rows(
            "SELECT coalesce(sum(head - first_seq + 1), 0)::bigint FROM {s}.gatherings"
        )
        ids = [one for [one] in self._rows("SELECT id FROM {s}.gatherings ORDER BY id")]
        for gathering in ids:
            if not gatherings or gathering in gatherings:
                self._verify(gathering)
        for gathering in sorted(set(gatherings) - set(ids)):
            self.report.add(gathering, None, "there is no such gathering")
        if not gatherings:
            self._look_for_others()
        return self.report

    def _rows(self, text: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        logs = self.logs
        return logs.connection.execute(statement(text, logs.schema), values, binary=True).fetchall()

    # One gathering.

    def _verify(self, gathering: str) -> None:
        try:
            log = self.logs.row(gathering)
        except _UNREADABLE as error:
            self.report.add(gathering, 1, f"can't be read: {error}")
            return
        if log is None:
            return
        last, chain = log.first_seq - 1, log.before
        try:
            _check_beginning(log)
            for link in checked(self._told(gathering), log.first_seq, log.before):
                last, chain = link.last_seq, link.head or chain
            self._check_end(log, last, chain)
        except StoreConflict as error:
            self.report.add(gathering, last + 1, str(error))
        except _UNREADABLE as error:
            self.report.add(gathering, last + 1, f"can't be read: {error}")
        else:
            # One that was opened, and into which nothing was written, has no log.
            if log.head:
                self.report.proven.append(Proven(gathering, last, chain.hex()))

    def _told(self, gathering: str) -> Iterator[Append]:
        for link in self.logs.links_of(gathering):
            for _ in link.ops:
                self.report.tell(self.progress, self._all)
            yield link

    def _check_end(self, log: LogRow, last: int, chain: bytes) -> None:
        key, first = log.key, log.first_seq
        if (last, chain) != (log.head, log.chain):
            raise StoreConflict(f"the log ends at {last}, not at {log.head}, or with another head")
        [(ops,)] = self._rows("SELECT count(*) FROM {s}.ops WHERE gathering = %s", key)
        if ops != last + 1 - first:
            raise StoreConflict(f"there are {ops} ops, not {last + 1 - first}")
        # The syncs of ops that were left out are remembered.
        stray = self._rows(
            "SELECT first_seq FROM {s}.syncs WHERE gathering = %s"
            " AND NOT first_seq BETWEEN 1 AND %s LIMIT 1",
            key,
            last,
        )
        if stray:
            raise StoreConflict(f"there is a sync of op {stray[0][0]}, which isn't there")
        stray = self._rows(
            "SELECT seq FROM {s}.snapshots AS p WHERE gathering = %s AND seq <> %s AND NOT EXISTS"
            " (SELECT FROM {s}.ops AS o WHERE o.gathering = p.gathering AND o.seq = p.seq"
            " AND head IS NOT NULL) LIMIT 1",
            key,
            first - 1,
        )
        if stray:
            raise StoreConflict(f"there is a snapshot of op {stray[0][0]}, where no append ended")
        if first > 1 and not self._rows(
            "SELECT 1 FROM {s}.snapshots WHERE gathering = %s AND seq >= %s LIMIT 1", key, first - 1
        ):
            raise StoreConflict("there is no snapshot in place of the first ops")

    # All else.

    def _look_for_others(self) -> None:
        """Look at what belongs to no gathering."""
        for table in OF_A_GATHERING:
            for [key] in self._rows(
                f"SELECT DISTINCT gathering FROM {{s}}.{table} WHERE gathering NOT IN"
                " (SELECT key FROM {s}.gatherings) LIMIT 100"
            ):
                self.report.add(None, None, f"{table} of a gathering {key} that isn't there")
        for gathering, seq, head, time, digest in self._rows(
            "SELECT id, seq, head, time, digest FROM {s}.tombstones"
        ):
            if digest != tombstone_digest(gathering, seq, head, time):
                self.report.add(gathering, seq, "its tombstone isn't what was written")
        for number, *row in self._rows("SELECT number, event, digest FROM {s}.events"):
            self._check_row("events", number, partial(_number_of, *row))
        for one, *row in self._rows("SELECT id, event, digest FROM {s}.incarnations"):
            self._check_row("incarnations", one, partial(_opened_by, *row))
        for one, gathering, *row in self._rows(
            "SELECT incarnation, gathering, state, digest FROM {s}.sleepers"
        ):
            self._check_row("sleepers", (one, gathering), partial(_asleep, *row))

    def _check_row(self, table: str, expected: object, read: Callable[[], object]) -> None:
        try:
            if read() != expected:
                raise ValueError("it is another one's")
        except _UNREADABLE as error:
            shown = expected[0] if isinstance(expected, tuple) else expected
            self.report.add(None, None, f"{table} {shown!r:.80}: {error}")


def _check_beginning(log: LogRow) -> None:
    """Raise `StoreConflict` unless a log begins as one may."""
    # One that begins with the first op may go on with the chain of one that was deleted.
    lengths = (0, HEAD_SIZE) if log.first_seq == 1 else (HEAD_SIZE,)
    if log.first_seq < 1 or len(log.before) not in lengths:
        raise StoreConflict("the log's beginning isn't one")
    sealed = log.sealed_time
    if (sealed is None) is not (log.first_seq == 1) or (
        sealed is not None and sealed_time(log.before, unsealed_time(sealed)) != sealed
    ):
        raise StoreConflict("the time of what was left out isn't the one that was written")


def _number_of(event: bytes, digest: bytes) -> int:
    return read_event(event, digest).number


def _opened_by(event: bytes, digest: bytes) -> str:
    return read_event(event, digest).incarnation


def _asleep(state: bytes, digest: bytes) -> tuple[str, str]:
    found = read_sleeper(state, digest)
    return found.state.incarnation, found.gathering


def _never() -> bool:
    return False
