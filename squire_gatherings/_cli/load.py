"""`load`: the command, its options, and the checks of them. `_load` does the rest."""

import ipaddress
import math
import os
import secrets
import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from squire_gatherings._cli.addresses import plain_address
from squire_gatherings._cli.options import (
    COUNT_OR_SHARE,
    DURATION,
    LARGEST_MESSAGE,
    SHARE,
    SIZE,
    option,
)
from squire_gatherings._cli.units import format_size
from squire_gatherings._load.plan import Plan

CONNECTIONS_PER_SECOND = 1000
"""How fast the clients connect, where `--ramp` says nothing."""

LARGEST_OP = LARGEST_MESSAGE

EXTRA = {"hdrh", "jinja2", "matplotlib", "psutil", "rich"}
"""The packages of the extra `load`, by the names under which they are imported."""


@click.command("load")
@option("--url", help="A server that runs already: ws://HOST:PORT. Default: one of its own.")
@option(
    "--store",
    default="memory:",
    help="The store of its own server: memory:, sqlite: (a temporary file), or a URL.",
)
@option("--gatherings", default=100, type=click.IntRange(1), help="How many gatherings.")
@option("--clients", default=5, type=click.IntRange(1), help="How many clients in each gathering.")
@option("--rate", default=0.5, type=click.FloatRange(0), help="Ops per second and gathering.")
@option("--op-size", default="100", type=SIZE, help="About how large an op is, as JSON.")
@option("--duration", default="10s", type=DURATION, help="How long each gathering gets ops.")
@option(
    "--ramp", type=DURATION, help="How long connecting takes. Default: by the number of clients."
)
@option(
    "--churn", default="0", type=SHARE, help="Share of clients that leave and return, a minute."
)
@option("--idle-fraction", default="0", type=SHARE, help="Share of gatherings that get no ops.")
@option("--idle-timeout", default="5s", type=DURATION, help="The idle timeout of its own server.")
@option(
    "--retry-interval", default="250ms", type=DURATION, help="After how long the server repeats."
)
@option(
    "--slow-readers",
    default="0",
    type=COUNT_OR_SHARE,
    help="Clients that hardly read: 20, or 5%.",
)
@option("--patience", default="10s", type=DURATION, help="What comes later is a violation.")
@option("--seed", default=1, type=int, help="Decides who leaves when, and who is slow.")
@option("--processes", type=click.IntRange(1, 64), help="Generator processes. Default: by CPUs.")
@option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    help="Write the report as JSON; - is standard output.",
)
@option(
    "--html",
    "html_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it as one page with pictures.",
)
@option("--allow-remote", is_flag=True, help="Let --url name another machine. Be sure it's yours.")
def load(**options: Any) -> None:
    """Put a load on a server, and check all that its clients see.

    Every acknowledged op must reach every connected client once and in order. Every
    gathering must end, with one notice to each client, and none early. The server's memory must
    come back. Exit code 0: all of this holds. 1: it doesn't; the first violations are named.
    2: a bad option.

    Ctrl-C ends the load and reports what was found until then.

    \b
    Examples:
      squire-gatherings load
      squire-gatherings load --gatherings 1000 --duration 60s --html report.html
      squire-gatherings load --churn 200% --slow-readers 5% --idle-fraction 0.2
      squire-gatherings load --url ws://127.0.0.1:8765 --json -
    """
    try:
        from squire_gatherings._load.coordinator.target import Target
        from squire_gatherings._load.run import CannotRun, run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        raise click.ClickException(
            f"load needs {error.name}: pip install 'squire-gatherings[load]'"
        ) from None
    for name in ("json_file", "html_file"):
        _check_writable(options[name])
    address = _address(options["url"], allow_remote=options["allow_remote"])
    try:
        code = run(
            _plan(options, own=address is None),
            Target(address=address, store=options["store"]),
            json_file=options["json_file"],
            html_file=options["html_file"],
            command=shlex.join(["squire-gatherings", *sys.argv[1:]]),
            started=datetime.now().astimezone(),
        )
    except CannotRun as error:
        raise click.ClickException(str(error)) from None
    sys.exit(code)


def _plan(options: dict[str, Any], *, own: bool) -> Plan:
    gatherings, clients = options["gatherings"], options["clients"]
    connections = gatherings * clients
    slow = options["slow_readers"]
    slow_readers = slow if isinstance(slow, int) else round(slow * connections)
    if slow_readers > gatherings * (clients - 1):
        raise click.UsageError(
            f"--slow-readers: {slow_readers} of {connections} clients leave a gathering without "
            "anybody who reads"
        )
    if not math.isfinite(options["rate"]):
        raise click.UsageError("--rate must be a finite number")
    if options["op_size"] > LARGEST_OP:
        raise click.UsageError(f"--op-size must be at most {format_size(LARGEST_OP)}")
    for name in ("duration", "patience", "retry_interval", "idle_timeout"):
        if not options[name] > 0:
            raise click.UsageError(f"--{name.replace('_', '-')} must be above 0")
    ramp = options["ramp"]
    if ramp is None:
        # Between its first and its last join, a gathering must not end.
        ramp = max(1.0, connections / CONNECTIONS_PER_SECOND)
        if own:
            ramp = min(ramp, 0.8 * options["idle_timeout"])
    return Plan(
        run=secrets.token_hex(4),
        host="",
        port=0,
        gatherings=gatherings,
        clients=clients,
        rate=options["rate"],
        op_size=options["op_size"],
        duration=options["duration"],
        ramp=ramp,
        churn=options["churn"],
        idle_fraction=min(1.0, options["idle_fraction"]),
        slow_readers=slow_readers,
        idle_timeout=options["idle_timeout"] if own else None,
        retry_interval=options["retry_interval"],
        patience=options["patience"],
        seed=options["seed"],
        processes=min(options["processes"] or max(1, (os.cpu_count() or 1) // 2), gatherings),
    )


def _address(url: str | None, *, allow_remote: bool) -> tuple[str, int] | None:
    if url is None:
        return None
    from squire_gatherings._load.coordinator.target import ServerFailed, resolve

    try:
        named = plain_address(url)
    except ValueError as error:
        raise click.UsageError(f"--url: {error}") from None
    if named is None:
        raise click.UsageError(f"--url: {url!r} is not ws://HOST:PORT")
    host, port = named
    try:
        address = resolve(host, port)
    except ServerFailed as error:
        raise click.UsageError(f"--url: {error}") from None
    if not ipaddress.ip_address(address[0].partition("%")[0]).is_loopback and not allow_remote:
        raise click.UsageError(
            f"--url: {host} is not this machine; --allow-remote puts the load on it nevertheless"
        )
    return address


def _check_writable(file: Path | None) -> None:
    """Look for the folder now: a mistyped one must not cost a minute of load."""
    if file is not None and str(file) != "-" and not file.absolute().parent.is_dir():
        raise click.UsageError(f"{file}: there is no folder {file.absolute().parent}")
