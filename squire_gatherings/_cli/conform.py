"""`conform`: the command, its options, and the checks of them. `_conform` does the rest."""

import fnmatch
import ipaddress
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import trio

from squire_gatherings._cli.addresses import plain_address
from squire_gatherings._cli.options import DURATION, option
from squire_gatherings._cli.printing import print_line

if TYPE_CHECKING:
    from squire_gatherings._conform.report import Result
    from squire_gatherings._conform.story import Story


@click.command("conform", context_settings={"ignore_unknown_options": False})
@click.argument("target", nargs=-1, metavar="[URL | COMMAND...]")
@option("--only", multiple=True, metavar="NAME", help="Only these stories; * stands for anything.")
@option("--list", "only_list", is_flag=True, help="Print the stories and their rules.")
@option(
    "--encoding",
    multiple=True,
    type=click.Choice(["json", "msgpack"]),
    help="Default: those that the client says.",
)
@option("--seed", default=1, type=int, help="Decides where connections are cut.")
@option("--patience", default="10s", type=DURATION, help="How long the client may take.")
@option(
    "--watch", default="500ms", type=DURATION, help="How long it is watched where it must rest."
)
@option("--jobs", default=4, type=click.IntRange(1, 64), help="How many clients at a time.")
@option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@option(
    "--vectors",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the test vectors and the JSON Schema into this folder.",
)
def conform(
    target: tuple[str, ...],
    only: tuple[str, ...],
    only_list: bool,
    encoding: tuple[str, ...],
    seed: int,
    patience: float,
    watch: float,
    jobs: int,
    as_json: bool,
    vectors: Path | None,
) -> None:
    """Certify a client: play it through all that the protocol allows, and say what it got wrong.

    COMMAND runs the client, or its adapter, which is told what to do by lines of JSON
    (docs/conformance.md). {url} in it stands for the URL of the server, which is also in the
    variable SQUIRE_URL. A client that connects by itself, such as a page, is given a URL in
    place of that: the server listens there, on loopback, and has its lines at /control.

    Exit code 0: all passed. 1: something failed. 2: wrong use, or there is no client.

    \b
    Examples:
      squire-gatherings conform -- python my_adapter.py {url}
      squire-gatherings conform --only 'takes-*' -- node my_adapter.mjs
      squire-gatherings conform ws://127.0.0.1:8790
      squire-gatherings conform --vectors vectors
    """
    from squire_gatherings._conform import files
    from squire_gatherings._conform.report import lines_of
    from squire_gatherings._conform.run import CannotRun, Plan, run

    stories = _chosen(only)
    if vectors is not None:
        _write(partial(files.write, vectors))
    if only_list:
        for story in stories:
            print_line(f"{story.name}: {story.rule.text} ({story.rule.link})")
    if not target:
        if vectors is None and not only_list:
            raise click.UsageError("give the command of a client, or a URL")
        return
    for name, value in (("patience", patience), ("watch", watch)):
        if not value > 0:
            raise click.UsageError(f"--{name} must be above 0")
    address = _address(target)
    command = None if address is not None else _command(target)

    def tell(result: "Result") -> None:
        for line in lines_of(result, seed):
            if as_json:
                click.echo(line, err=True)
            else:
                print_line(line)

    def waits(url: str) -> None:
        click.echo(f"waiting for a client at {url}", err=True)

    # A client that connects by itself is one.
    jobs = 1 if command is None else jobs
    plan = Plan(stories, encoding or None, seed, patience, watch, jobs)
    try:
        report = trio.run(
            run,
            plan,
            command,
            address,
            tell,
            waits,
            restrict_keyboard_interrupt_to_checkpoints=True,
        )
    except CannotRun as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        print_line(report.as_json().decode().rstrip())
    else:
        print_line(report.summary())
    sys.exit(0 if report.passed else 1)


def _chosen(only: tuple[str, ...]) -> "list[Story]":
    from squire_gatherings._conform.stories import STORIES

    chosen: list[Story] = []
    for pattern in only or ("*",):
        names = fnmatch.filter(STORIES, pattern)
        if not names:
            raise click.UsageError(f"--only: there is no story {pattern!r}; --list has them")
        chosen += [STORIES[name] for name in names if STORIES[name] not in chosen]
    return chosen


def _command(target: tuple[str, ...]) -> list[str]:
    if len(target) > 1:
        return list(target)
    try:
        words = shlex.split(target[0])
    except ValueError as error:
        raise click.UsageError(f"the command can't be taken apart: {error}") from None
    if not words:
        raise click.UsageError("the command is empty")
    return words


def _address(target: tuple[str, ...]) -> tuple[str, int] | None:
    if len(target) != 1 or "://" not in target[0] or " " in target[0]:
        return None
    url = target[0]
    try:
        address = plain_address(url)
    except ValueError as error:
        raise click.UsageError(f"not a URL: {error}") from None
    if address is None:
        raise click.UsageError(f"{url!r} is not ws://HOST:PORT")
    host, port = address
    host = "127.0.0.1" if host == "localhost" else host
    try:
        is_here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = False
    if not is_here:
        raise click.UsageError(f"{host} is not an address of loopback, such as 127.0.0.1")
    return host, port


def _write(write: partial[None]) -> None:
    try:
        write()
    except OSError as error:
        raise click.ClickException(f"can't write the vectors: {error.strerror or error}") from None
