"""`verify`: shows that a store has what was committed to it, to the byte."""

import sys
import time

import click

from squire_gatherings._cli.options import ENVIRONMENT, option
from squire_gatherings._cli.printing import is_terminal, print_json, print_line, printable
from squire_gatherings._cli.progress import Progress
from squire_gatherings._cli.units import format_duration
from squire_gatherings._stores import offline
from squire_gatherings._stores.findings import Report


@click.command("verify", context_settings=ENVIRONMENT)
@click.argument("store")
@click.argument("gatherings", nargs=-1, metavar="[GATHERING]...")
@option("--json", "as_json", is_flag=True, help="Answer with a JSON object.")
def verify(store: str, gatherings: tuple[str, ...], as_json: bool) -> None:
    """Verify that STORE (sqlite:///PATH, the PATH, or postgresql://...) has what was committed.

    Of all gatherings, or of those that are named, the hash chain is computed anew from the ops,
    and compared with what the store says; so are snapshots and the journal. It reads the store as
    it is at one moment, also while a server has it open, and changes nothing.

    The exit code is 0 if all is as it was committed, 1 if something isn't, and 2 if the store can't
    be read. What is wrong is printed, the first thing of each gathering.

    With --json, it prints {"ok": ..., "wrong": [{"gathering", "seq", "what"}, ...], "proven":
    [{"gathering", "seq", "head"}, ...], "ops": ..., "refused": ..., "seconds": ...}. Keep the
    heads elsewhere: they show later that nobody has made all of it anew.

    \b
    Examples:
      squire-gatherings verify rooms.sqlite3
      squire-gatherings verify sqlite:////var/lib/squire/rooms.sqlite3 friday-night --json
    """
    began = time.monotonic()
    progress = Progress(shown=is_terminal(sys.stderr) and not as_json)
    try:
        report = offline.verify(
            store,
            gatherings,
            lambda done, all_of_them: progress.tell(f"{done} of {all_of_them} ops"),
        )
    finally:
        progress.clear()
    seconds = time.monotonic() - began
    if as_json:
        print_json(
            ok=not report.wrong,
            wrong=[
                {"gathering": one.gathering, "seq": one.seq, "what": one.what}
                for one in report.wrong
            ],
            proven=[
                {"gathering": one.gathering, "seq": one.seq, "head": one.head}
                for one in report.proven
            ],
            ops=report.ops,
            refused=report.refused,
            seconds=round(seconds, 3),
        )
    else:
        _print(report, seconds)
    if report.wrong:
        sys.exit(1)


def _print(report: Report, seconds: float) -> None:
    for one in report.wrong:
        where = "" if one.gathering is None else f"{one.gathering}: "
        seq = "" if one.seq is None else f"op {one.seq}: "
        print_line(f"wrong: {where}{seq}{printable(one.what)[1:-1]}")
    if report.refused:
        print_line(f"{report.refused} appends are in the table refused: they didn't fit on the log")
    print_line(
        f"{len(report.proven)} gatherings are as they were committed, {len(report.wrong)} things"
        f" are wrong; {report.ops} ops in {format_duration(seconds)}"
    )
