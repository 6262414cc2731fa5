r"""The export: a log as lines of JSON, which carry its proof, and back.

`log` is the first line and `end` the last one. Between them come `sync` lines (of syncs whose ops
were left out), and for each append its `op` lines and a `head` line, after which there may be a
`snapshot` line. The first op of a sync says which sync that is. Bytes are in hexadecimal digits,
times in milliseconds since 1970 (UTC).
"""

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Annotated, Any

import msgspec
from attrs import define, field
from msgspec import UNSET, Struct, UnsetType

from squire_gatherings._rules.chain import HEAD_SIZE, head_of
from squire_gatherings._values.archive import LogCopy, LogInfo
from squire_gatherings._values.errors import BadExport, BadGatheringId
from squire_gatherings._values.ids import check_gathering_id
from squire_gatherings._values.log import Append, LoggedOp, Snapshot, SyncRecord
from squire_gatherings._values.op import Op

FORMAT = 1
MOST_OPS = 1_000_000
"""How many ops one append may have."""


class _Line(Struct, tag_field="type", omit_defaults=True, forbid_unknown_fields=True):
    """A line."""


class _Log(_Line, tag="log"):
    gathering: str
    format: int
    seq: int
    head: str
    first_seq: int
    before: str = ""
    epoch_before: str = ""
    time_before: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0


class _Sync(_Line, tag="sync"):
    scope: str
    id: str
    first_seq: int
    count: int
    fingerprint: str


class _Of(Struct):
    """The sync whose first op this is."""

    scope: str
    id: str
    count: int
    fingerprint: str


class _Op(_Line, tag="op"):
    seq: int
    op: msgspec.Raw
    time: int = 0
    by: str | None = None
    epoch: str = ""
    sync: _Of | UnsetType = UNSET


class _Head(_Line, tag="head"):
    """The end of an append; `name` is the id that the chain has, where it's another one."""

    seq: int
    head: str
    name: str | UnsetType = UNSET


class _Snapshot(_Line, tag="snapshot"):
    seq: int
    digest: str
    state: msgspec.Raw


class _End(_Line, tag="end"):
    """The last line; `digest` is BLAKE2b (32 bytes) of all before it."""

    lines: int
    digest: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Log | _Sync | _Op | _Head | _Snapshot | _End).decode


# Export.


@define(eq=False)
class Exporter:
    """Makes the lines of one log."""

    info: LogInfo
    _lines: int = 0
    _digest: Any = field(factory=lambda: blake2b(digest_size=HEAD_SIZE))

    def beginning(self, older_syncs: Iterable[SyncRecord]) -> Iterator[bytes]:
        """Give the first lines."""
        info = self.info
        yield self._line(
            _Log(
                info.gathering,
                FORMAT,
                info.seq,
                info.head.hex(),
                info.first_seq,
                info.before.hex(),
                info.epoch_before,
                info.time_before,
            )
        )
        for s in older_syncs:
            yield self._line(_Sync(s.scope, s.id, s.first_seq, s.count, s.fingerprint.hex()))

    def link(self, link: Append) -> Iterator[bytes]:
        """Give the lines of an append."""
        syncs = {s.first_seq: s for s in link.syncs}
        for seq, one in enumerate(link.ops, start=link.first_seq):
            sync = syncs.get(seq)
            of = UNSET if sync is None else _of(sync)
            yield self._line(_Op(seq, msgspec.Raw(one.json), one.time, one.by, one.epoch, of))
        if link.ops:
            last = link.last_seq
            name = UNSET if link.gathering == self.info.gathering else link.gathering
            yield self._line(_Head(last, head_of(link).hex(), name))
        snapshot = link.snapshot
        if snapshot is not None:
            state = msgspec.Raw(snapshot.state)
            yield self._line(_Snapshot(snapshot.seq, snapshot.digest.hex(), state))

    def end(self) -> bytes:
        """Return the last line."""
        return _encode(_End(self._lines, self._digest.hexdigest())) + b"\n"

    def _line(self, line: _Line) -> bytes:
        encoded = _encode(line) + b"\n"
        self._lines += 1
        self._digest.update(encoded)
        return encoded


def _of(sync: SyncRecord) -> _Of:
    return _Of(sync.scope, sync.id, sync.count, sync.fingerprint.hex())


# Import.


@define(eq=False)
class Importer:
    """Reads the lines of one log, each once."""

    lines: Iterator[bytes]
    log: _Log = field(init=False)
    older_syncs: tuple[SyncRecord, ...] = ()
    _number: int = 0
    _digest: Any = field(factory=lambda: blake2b(digest_size=HEAD_SIZE))
    _next: _Line | None = None

    def __attrs_post_init__(self) -> None:
        line = self._take()
        if not isinstance(line, _Log):
            raise self._wrong("the first line isn't a log's")
        if line.format != FORMAT:
            raise self._wrong(f"the format is {line.format}, this program knows {FORMAT}")
        try:
            check_gathering_id(line.gathering)
        except BadGatheringId as error:
            raise self._wrong(str(error)) from None
        if line.first_seq < 1:
            raise self._wrong(f"the log begins at {line.first_seq}")
        self.log = line
        older: list[SyncRecord] = []
        while isinstance(line := self._take(), _Sync):
            older.append(
                SyncRecord(
                    line.scope, line.id, line.first_seq, line.count, self._bytes(line.fingerprint)
                )
            )
        self._next = line
        self.older_syncs = tuple(older)

    def copy(self, gathering: str | None = None) -> LogCopy:
        """Return the log, under this id or its own; its links are read line by line.

        Raises:
            BadExport: A line can't be read. So do the links.
        """
        log = self.log
        return LogCopy(
            gathering=gathering or log.gathering,
            first_seq=log.first_seq,
            before=self._bytes(log.before),
            epoch_before=log.epoch_before,
            time_before=log.time_before,
            older_syncs=self.older_syncs,
            links=self._links(),
        )

    def _links(self) -> Iterator[Append]:
        log = self.log
        ended = log.first_seq - 1
        waiting: Append | None = None
        while True:
            line, self._next = self._next or self._take(), None
            if isinstance(line, _Snapshot):
                digest = self._bytes(line.digest)
                snapshot = Snapshot(line.seq, bytes(line.state), digest)
                if waiting is None:
                    waiting = Append(log.gathering, ended + 1, (), ())
                yield msgspec.structs.replace(waiting, snapshot=snapshot)
                waiting = None
                continue
            if waiting is not None:
                yield waiting
                waiting = None
            if isinstance(line, _Op):
                waiting = self._append(line, ended + 1)
                ended += len(waiting.ops)
            elif isinstance(line, _End):
                self._check_end(ended)
                return
            else:
                raise self._wrong("it doesn't belong here")

    def _append(self, line: _Line, first_seq: int) -> Append:
        ops: list[LoggedOp] = []
        syncs: list[SyncRecord] = []
        while isinstance(line, _Op):
            seq = first_seq + len(ops)
            if line.seq != seq or len(ops) == MOST_OPS:
                raise self._wrong(f"op {line.seq} comes where op {seq} should")
            op = Op(bytes(line.op))
            try:
                op.check()
            except ValueError as error:
                raise self._wrong(str(error)) from None
            ops.append(LoggedOp(op.json, line.by, line.epoch, line.time))
            if isinstance(of := line.sync, _Of):
                mark = self._bytes(of.fingerprint)
                syncs.append(SyncRecord(of.scope, of.id, seq, of.count, mark))
            line = self._take()
        if not isinstance(line, _Head) or line.seq != first_seq + len(ops) - 1:
            raise self._wrong("a head should come here")
        name = line.name if isinstance(line.name, str) else self.log.gathering
        head = self._bytes(line.head)
        return Append(name, first_seq, tuple(ops), tuple(syncs), None, head)

    def _check_end(self, seq: int) -> None:
        if seq != self.log.seq:
            raise self._wrong(f"the log ends at {seq}, not at {self.log.seq}")
        for more in self.lines:
            if more.strip():
                self._number += 1
                raise self._wrong("there is something after the end")

    def _take(self) -> _Line:
        try:
            text = next(self.lines)
        except StopIteration:
            raise BadExport(f"it was cut off after line {self._number}: the end isn't there") from (
                None
            )
        self._number += 1
        try:
            line: _Line = _decode(text)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise self._wrong(str(error)) from None
        if isinstance(line, _End):
            if (line.lines, line.digest) != (self._number - 1, self._digest.hexdigest()):
                raise self._wrong("the lines before it aren't those that were written")
        else:
            self._digest.update(text)
        return line

    def _bytes(self, text: str) -> bytes:
        try:
            return bytes.fromhex(text)
        except ValueError:
            raise self._wrong(f"{text[:40]!r} isn't bytes in hexadecimal digits") from None

    def _wrong(self, what: str) -> BadExport:
        return BadExport(f"line {self._number}: {what}")
