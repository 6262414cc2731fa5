"""`list`, `show`, `export`, `import`, `fork`: whole logs of a store, also of one that is served."""

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, TypeVar

import click

from squire_gatherings._cli.audit_log import audit_option, audited
from squire_gatherings._cli.options import ENVIRONMENT, POINT, option
from squire_gatherings._cli.points import Point, format_time
from squire_gatherings._cli.printing import CannotPrint, print_json, print_line, printing
from squire_gatherings._cli.progress import Progress
from squire_gatherings._cli.units import format_size
from squire_gatherings._rules.export import Exporter, Importer
from squire_gatherings._stores import offline
from squire_gatherings._stores.logs import LogChanges, Logs
from squire_gatherings._values.archive import LogInfo
from squire_gatherings._values.errors import BadBase, StoreConflict
from squire_gatherings._values.ids import check_gathering_id

T = TypeVar("T")

PAGE = 100
TELL_EVERY = 1000
"""How many ops pass between two reports of progress."""


def look(
    store: str, function: Callable[[Logs], T], progress: Progress, gathering: str | None = None
) -> T:
    """Return what a function finds in a store; in a folder of files, in that of the gathering."""
    with progress.going_on():
        return offline.looked(store, function, progress.stopped, gathering)


def change(
    store: str,
    function: Callable[[LogChanges], T],
    progress: Progress,
    gathering: str | None = None,
) -> T:
    """Return what a function says that changes a store; of a folder, as `look` has it."""
    with progress.going_on():
        return offline.changed(store, function, progress.stopped, gathering)


def existing(logs: Logs, gathering: str) -> LogInfo:
    """Return what there is of a log. Raises `StoreConflict` if there is none."""
    info = logs.find_info(gathering)
    if info is None:
        raise StoreConflict(f"there is no gathering {gathering}")
    if info.is_deleted:
        assert info.tombstone is not None
        raise StoreConflict(f"{gathering} was deleted at {format_time(info.tombstone.time)}")
    return info


def seq_of(logs: Logs, info: LogInfo, point: Point) -> int:
    """Return the last seq by a point."""
    if point.seq is not None:
        return point.seq
    assert point.time is not None
    return logs.seq_at(info.gathering, point.time)


def as_json(info: LogInfo) -> dict[str, object]:
    """Return what is said of a log, as JSON."""
    tombstone = info.tombstone
    return {
        "gathering": info.gathering,
        "first_seq": info.first_seq,
        "seq": info.seq,
        "first_time": info.first_time,
        "last_time": info.last_time,
        "bytes": info.size,
        "syncs": info.syncs,
        "snapshots": len(info.snapshots),
        "head": info.head.hex(),
        "deleted": info.is_deleted,
        "tombstone": None
        if tombstone is None
        else {"seq": tombstone.seq, "head": tombstone.head.hex(), "time": tombstone.time},
    }


@click.command("list", context_settings=ENVIRONMENT)
@click.argument("store")
@option("--after", default="", help="Begin after this id.")
@option("--limit", type=click.IntRange(1), help="Stop after so many.")
@option("--json", "json_lines", is_flag=True, help="One JSON object a line.")
def list_logs(store: str, after: str, limit: int | None, json_lines: bool) -> None:
    """List the gatherings of STORE, also of one that is served.

    STORE is sqlite:///PATH, the PATH, or postgresql://...

    A line for each: its id, its last seq, when its first and its last op were committed, how
    many bytes the ops have, and how many snapshots there are. Of one that was deleted, only
    its tombstone is left.

    \b
    With --json, times are in milliseconds since 1970 (UTC):
      gathering, first_seq, seq, first_time, last_time, bytes, syncs, snapshots, head,
      deleted, tombstone (null, or seq, head, time)

    \b
    Examples:
      squire-gatherings list rooms.sqlite3
      squire-gatherings list sqlite:////var/lib/squire/rooms.sqlite3 --json
    """
    progress, left = Progress(), limit
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        found = look(store, lambda logs, a=after, n=size: logs.list_logs(a, n), progress)  # type: ignore[misc]
        for info in found:
            if json_lines:
                print_json(**as_json(info))
            elif info.is_deleted and info.tombstone is not None:
                when = format_time(info.tombstone.time)
                print_line(f"{info.gathering}  deleted at {when}, after op {info.tombstone.seq}")
            else:
                print_line(
                    f"{info.gathering}  {_range_of(info)}  {format_time(info.first_time)}"
                    f"  {format_time(info.last_time)}  {format_size(info.size)}"
                    f"  {len(info.snapshots)} snapshots"
                )
        if len(found) < size:
            return
        after = found[-1].gathering
        left = None if left is None else left - size


def _range_of(info: LogInfo) -> str:
    """Say which ops a log has, in a word."""
    if info.first_seq == 1:
        return f"{info.seq}"
    if info.first_seq > info.seq:
        return f"none-after-{info.seq}"
    return f"{info.first_seq}-{info.seq}"


@click.command("show", context_settings=ENVIRONMENT)
@click.argument("store")
@click.argument("gathering_id", metavar="ID")
@option("--json", "json_lines", is_flag=True, help="One JSON object.")
def show_log(store: str, gathering_id: str, json_lines: bool) -> None:
    """Show what STORE (sqlite:///PATH, the PATH, postgresql://...) has of the gathering ID.

    --json prints what `list --json` does, and: epochs (a list of seq and epoch where it
    changes), snapshot_seqs, before (the head before the first op).

    \b
    Examples:
      squire-gatherings show rooms.sqlite3 friday-night
      squire-gatherings show rooms.sqlite3 friday-night --json
    """

    def find(logs: Logs) -> tuple[LogInfo | None, list[tuple[int, str]]]:
        return logs.find_info(gathering_id), logs.epochs(gathering_id)

    info, epochs = look(store, find, Progress(), gathering_id)
    if info is None:
        raise StoreConflict(f"there is no gathering {gathering_id}")
    if json_lines:
        print_json(
            **as_json(info),
            epochs=epochs,
            snapshot_seqs=info.snapshots,
            before=info.before.hex(),
        )
        return
    if not info.is_deleted:
        print_line(f"gathering  {info.gathering}")
        ops = f"{info.first_seq} to {info.seq}"
        if info.first_seq > info.seq:
            ops = f"none: those up to {info.seq} were left out"
        print_line(f"ops        {ops}, {format_size(info.size)}")
        print_line(f"times      {format_time(info.first_time)} to {format_time(info.last_time)}")
        print_line(f"epochs     {len(epochs)}, the last one {epochs[-1][1] if epochs else '-'}")
        print_line(f"syncs      {info.syncs}")
        print_line(f"snapshots  {', '.join(map(str, info.snapshots)) or '-'}")
        print_line(f"head       {info.head.hex() or '-'}")
    if info.tombstone is not None:
        dead = info.tombstone
        print_line(f"deleted    at {format_time(dead.time)}, after op {dead.seq}")
        print_line(f"its head   {dead.head.hex() or '-'}")


@click.command("export", context_settings=ENVIRONMENT)
@click.argument("store")
@click.argument("gathering_id", metavar="ID")
@click.argument("file", required=False)
@audit_option
def export(store: str, gathering_id: str, file: str | None, audit_log: str | None) -> None:
    """Write the log of the gathering ID as JSON lines, to the new FILE or standard output.

    It is the log of one moment, whatever a server writes meanwhile, with all that proves it:
    `import` takes it. The last line says that nothing is missing. FILE appears under its name
    when it is complete, and overwrites nothing.

    \b
    Examples:
      squire-gatherings export rooms.sqlite3 friday-night friday-night.jsonl
      squire-gatherings export rooms.sqlite3 friday-night | zstd > friday-night.jsonl.zst
    """
    progress = Progress()

    def write(to: BinaryIO, logs: Logs) -> int:
        info = existing(logs, gathering_id)
        exporter = Exporter(info)
        older = logs.older_syncs(gathering_id)
        for line in exporter.beginning(older):
            to.write(line)
        written = 0
        for link in logs.links_of(gathering_id):
            for line in exporter.link(link):
                to.write(line)
            written += len(link.ops)
            progress.tell(f"{written:,} of {info.seq - info.first_seq + 1:,} ops")
            if progress.stopped():
                raise offline.GivenUp
        to.write(exporter.end())
        return written

    if file is None:
        with audited(audit_log, "export", store) as done, printing():
            look(store, partial(write, sys.stdout.buffer), progress, gathering_id)
            sys.stdout.buffer.flush()
            done.append(gathering_id)
        return
    target = Path(file)
    if os.path.lexists(target):
        raise click.UsageError(f"{file}: exists already")
    unfinished = target.with_name(f".{target.name[:40]}.{token_hex(4)}")
    try:
        with audited(audit_log, "export", store) as done:
            with _private(unfinished) as to:
                count = look(store, partial(write, to), progress, gathering_id)
                to.flush()
                os.fsync(to.fileno())
            os.link(unfinished, target)
            done.append(gathering_id)
    except OSError as error:
        raise CannotPrint(f"{file}: {error.strerror or error}") from None
    finally:
        with suppress(FileNotFoundError):
            os.unlink(unfinished)
    print_line(f"exported {count:,} ops to {file}")


def _private(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")


@click.command("import", context_settings=ENVIRONMENT)
@click.argument("store")
@click.argument("file")
@option("--as", "new_id", help="The id under which it is taken in. Default: its own.")
@option("--even-if-deleted", is_flag=True, help="Also where a log of this id was deleted.")
@audit_option
def import_log(
    store: str, file: str, new_id: str | None, even_if_deleted: bool, audit_log: str | None
) -> None:
    """Take the log in FILE (- for standard input), as `export` wrote it, into STORE.

    All of it is checked first: each op, the chain, and that nothing is missing. It is taken in
    whole or not at all, and overwrites nothing: where STORE has a log of this id already, that
    is an error, unless it is the same or goes on where FILE ends.

    \b
    Examples:
      squire-gatherings import rooms.sqlite3 friday-night.jsonl
      squire-gatherings import rooms.sqlite3 friday-night.jsonl --as friday-copy
    """
    progress = Progress()
    with ExitStack() as stack:
        source: BinaryIO = sys.stdin.buffer
        if file != "-":
            try:
                source = stack.enter_context(open(file, "rb"))
                if stat.S_ISDIR(os.fstat(source.fileno()).st_mode):
                    raise IsADirectoryError(21, "Is a directory")
            except OSError as error:
                raise click.UsageError(f"{file}: {error.strerror}") from None
        importer = Importer(_told(source, progress))
        name = new_id or importer.log.gathering
        check_gathering_id(name)
        offline.check_new(store, name)

        def take(logs: LogChanges) -> tuple[int, bool]:
            info = logs.find_info(name)
            if info is not None and not info.is_deleted:
                log = importer.log
                there = logs.head_at(name, log.seq)
                if log.head and there.hex() == log.head:
                    return log.seq, False
                raise StoreConflict(f"there is a gathering {name} already, with another log")
            if info is not None and not even_if_deleted:
                assert info.tombstone is not None
                when = format_time(info.tombstone.time)
                raise StoreConflict(f"{name} was deleted at {when}: add --even-if-deleted")
            return logs.adopt(importer.copy(name)), True

        with audited(audit_log, "import", store) as done:
            seq, is_new = change(store, take, progress, name)
            done += [name] if is_new else []
    if is_new:
        print_line(f"imported {name}, up to op {seq}")
    else:
        print_line(f"{name} is there already, with these ops up to {seq}")


def _told(source: BinaryIO, progress: Progress) -> Iterator[bytes]:
    size = 0
    for number, line in enumerate(source, start=1):
        size += len(line)
        if not number % TELL_EVERY:
            progress.tell(f"{number:,} lines, {format_size(size)}")
            if progress.stopped():
                raise offline.GivenUp
        yield line


@click.command("fork", context_settings=ENVIRONMENT)
@click.argument("store")
@click.argument("gathering_id", metavar="ID")
@click.argument("new_id", metavar="NEW")
@option("--at", type=POINT, help="Up to which seq or time. Default: all of it.")
@audit_option
def fork(
    store: str, gathering_id: str, new_id: str, at: Point | None, audit_log: str | None
) -> None:
    """Make the new gathering NEW of the log of ID up to a point; ID goes on as it is.

    NEW keeps the chain of ID's log. What is submitted to NEW later has its own name there.

    \b
    Examples:
      squire-gatherings fork rooms.sqlite3 friday-night what-if --at 120
      squire-gatherings fork rooms.sqlite3 friday-night what-if --at 2026-11-28T20:00:00Z
    """
    check_gathering_id(new_id)
    offline.check_new(store, new_id, beside=gathering_id)

    def make(logs: LogChanges) -> int:
        info = existing(logs, gathering_id)
        seq = info.seq if at is None else seq_of(logs, info, at)
        if at is not None and at.time is not None and seq < info.first_seq:
            raise BadBase(f"{gathering_id} has nothing from before {format_time(at.time)}")
        return logs.fork(gathering_id, new_id, seq)

    with audited(audit_log, "fork", store) as done:
        seq = change(store, make, Progress(), gathering_id)
        done.append(new_id)
    print_line(f"{new_id} has the ops of {gathering_id} up to {seq}")
