"""One load test from its plan to its exit code. Needs the packages of the extra `load`."""

import signal
import sys
from datetime import datetime
from pathlib import Path

import click
import msgspec
import trio
from rich.console import Console

from squire_gatherings._load.conductor import Outcome, Target, conduct
from squire_gatherings._load.generators import GeneratorFailed
from squire_gatherings._load.page import write_page
from squire_gatherings._load.plan import Plan
from squire_gatherings._load.progress import Progress
from squire_gatherings._load.report import make_report
from squire_gatherings._load.server import ServerFailed
from squire_gatherings._load.summary import print_summary


def run(
    plan: Plan,
    *,
    address: tuple[str, int] | None,
    store: str,
    json_file: Path | None,
    html_file: Path | None,
    command: str,
    started: datetime,
) -> int:
    """Run it, write the reports, and return the exit code: 1 if there were violations.

    Raises `click.ClickException` where it couldn't run.
    """
    progress = Progress(plan, Console(stderr=True))
    try:
        with progress:
            target = Target(address=address, store=store)
            outcome = trio.run(_conduct, plan, target, progress)
    except* (ServerFailed, GeneratorFailed, OSError) as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise click.ClickException(str(error)) from None
    report = make_report(outcome, command=command, started=started, own_server=address is None)
    to_stdout = str(json_file) == "-"
    if json_file is not None:
        data = msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"
        if to_stdout:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            json_file.write_bytes(data)
    if html_file is not None:
        write_page(report, html_file)
    print_summary(report, Console(stderr=to_stdout))
    return 0 if report.passed else 1


async def _conduct(plan: Plan, target: Target, progress: Progress) -> Outcome:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        return await conduct(plan, target, progress, signals)
