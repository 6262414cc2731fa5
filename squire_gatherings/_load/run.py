"""One load test, from its plan to its exit code. Needs the packages of the extra `load`."""

import signal
import sys
from datetime import datetime
from pathlib import Path

import msgspec
import trio
from rich.console import Console

from squire_gatherings._load.coordinator.coordinator import coordinate
from squire_gatherings._load.coordinator.generators import GeneratorFailed
from squire_gatherings._load.coordinator.outcome import Outcome
from squire_gatherings._load.coordinator.target import ServerFailed, Target
from squire_gatherings._load.plan import Plan
from squire_gatherings._load.report.page import write_page
from squire_gatherings._load.report.progress import ProgressDisplay
from squire_gatherings._load.report.report import make_report
from squire_gatherings._load.report.summary import print_summary


class CannotRun(Exception):
    """The load test couldn't run; says why."""


def run(
    plan: Plan,
    target: Target,
    *,
    json_file: Path | None,
    html_file: Path | None,
    command: str,
    started: datetime,
) -> int:
    """Run it, and write the reports.

    Args:
        plan: What is done.
        target: Which server is tested.
        json_file: Where the report goes as JSON; `-` is standard output.
        html_file: Where it goes as a page.
        command: The command, as the report shows it.
        started: When it began, as the report says.

    Returns:
        The exit code: 0, or 1 if there were violations.

    Raises:
        CannotRun: There is no server, or the system lacks something.
        OSError: A report can't be written.
    """
    progress = ProgressDisplay(plan, Console(stderr=True))
    failure: BaseException | None = None
    try:
        with progress:
            outcome = trio.run(_coordinate, plan, target, progress)
    except* (ServerFailed, GeneratorFailed, OSError) as group:
        failure = _first_of(group)
    if failure is not None:
        raise CannotRun(str(failure))
    own_server = target.address is None
    report = make_report(outcome, command=command, started=started, own_server=own_server)
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


def _first_of(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _coordinate(plan: Plan, target: Target, progress: ProgressDisplay) -> Outcome:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        return await coordinate(plan, target, progress, signals)
