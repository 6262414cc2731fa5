"""`backup`: copies a store's file while a server goes on writing to it."""

import os.path
import signal
import sys
import time
from pathlib import Path

import click

from squire_gatherings._cli.options import ENVIRONMENT, option
from squire_gatherings._cli.printing import print_json
from squire_gatherings._cli.signals import stop_signals
from squire_gatherings._cli.units import format_duration, format_size
from squire_gatherings._stores import is_postgres, sqlite_path
from squire_gatherings._stores.sqlite.backup import back_up

PROGRESS_INTERVAL = 0.2
"""How many seconds lie between two looks at the progress."""


@click.command("backup", context_settings=ENVIRONMENT)
@click.argument("store")
@click.argument("target", metavar="DEST")
@option("--json", "as_json", is_flag=True, help="Answer with a JSON object.")
def backup(store: str, target: str, as_json: bool) -> None:
    """Copy STORE (sqlite:///PATH, or the PATH) to the new file DEST.

    The copy is of one moment, whatever a server writes meanwhile, and appears under its name
    when it is complete and on the disk. It never overwrites a file. Serve it with --store
    sqlite:///DEST.

    With --json, it prints {"backup": DEST, "bytes": ..., "seconds": ...}.

    \b
    Examples:
      squire-gatherings backup sqlite:////var/lib/squire/rooms.sqlite3 /backups/rooms.sqlite3
      squire-gatherings backup rooms.sqlite3 "rooms-$(date +%F).sqlite3" --json
    """
    if os.path.isdir(target):
        raise click.UsageError(f"{target}: is a directory; DEST is the new file")
    # A `Path` drops a slash or a dot at the end.
    if os.path.basename(target) in ("", os.curdir):
        raise click.UsageError(f"{target}: no such directory; DEST is the new file")
    if is_postgres(store):
        raise click.UsageError("a database of PostgreSQL is backed up by its own means: pg_dump")
    began = time.monotonic()
    shown = sys.stderr.isatty() and not as_json
    progress = _Progress(shown=shown)
    for number in stop_signals():
        signal.signal(number, progress.stop)
    try:
        size = back_up(sqlite_path(store), Path(target), progress)
    finally:
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    seconds = time.monotonic() - began
    if as_json:
        print_json(backup=target, bytes=size, seconds=round(seconds, 3))
    else:
        print(f"backed up to {target}: {format_size(size)} in {format_duration(seconds)}")


class _Progress:
    """Shows on the last line of the terminal how much was copied, and ends the copying at a signal.

    A handler that raises does so anywhere, also where SQLite swallows it. So it only notes the
    signal. The next progress exits, and the unfinished copy is removed on the way out.
    """

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._next = 0.0
        self._stopped_by = 0

    def stop(self, number: int, _: object) -> None:
        """Handle a signal."""
        self._stopped_by = number

    def __call__(self, copied: int, size: int) -> None:
        if self._stopped_by:
            sys.exit(128 + self._stopped_by)
        now = time.monotonic()
        if self._shown and now >= self._next:
            self._next = now + PROGRESS_INTERVAL
            text = f"\r\x1b[K{format_size(copied)} of about {format_size(size)}"
            print(text, end="", file=sys.stderr, flush=True)
