"""`doctor`: what is easily wrong around a server, looked for on this machine and by asking it."""

import sys
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import click
import trio

from squire_gatherings._cli.doctor.clocks import check_clock
from squire_gatherings._cli.doctor.files import check_store_files, check_token_file
from squire_gatherings._cli.doctor.findings import Finding, Level, fail, ok, worst
from squire_gatherings._cli.doctor.libraries import check_libraries
from squire_gatherings._cli.doctor.limits import check_memory, check_open_files
from squire_gatherings._cli.doctor.ports import check_port, reached
from squire_gatherings._cli.doctor.running import check_running
from squire_gatherings._cli.doctor.settings import check_certificate, read_options, read_setup
from squire_gatherings._cli.doctor.sleep import check_sleep
from squire_gatherings._cli.doctor.through import Way, check_through
from squire_gatherings._cli.limits import raise_open_files
from squire_gatherings._cli.memory import memory_allowed
from squire_gatherings._cli.operators.asking import (
    AdminPort,
    CannotAsk,
    PortOptions,
    check_url,
    json_option,
    open_port,
)
from squire_gatherings._cli.options import DURATION, FILE, TOKEN, option
from squire_gatherings._cli.printing import print_json, print_line
from squire_gatherings._cli.setup import Setup
from squire_gatherings._cli.workers.places import store_of

FAILED = 1
"""The exit code when something fails."""


@click.command("doctor")
@click.argument("serve_options", nargs=-1, type=click.UNPROCESSED)
@option(
    "--config", type=FILE, envvar="SQUIRE_CONFIG", metavar="FILE", help="The server's TOML file."
)
@option(
    "--admin",
    metavar="URL",
    envvar="SQUIRE_ADMIN",
    help="Where the server's admin port is. Default: where the options put it, if they do.",
)
@option(
    "--admin-token-file",
    type=FILE,
    envvar="SQUIRE_ADMIN_TOKEN_FILE",
    help="File with the operators' token. Default: that of the options.",
)
@option("--through", metavar="URL", help="Where clients come in: wss://rooms.example.com.")
@option(
    "--idle", default="0", type=DURATION, help="With --through: leave a connection alone so long."
)
@TOKEN
@json_option
@click.pass_context
def doctor(
    context: click.Context,
    serve_options: tuple[str, ...],
    config: str | None,
    admin: str | None,
    admin_token_file: str | None,
    through: str | None,
    idle: float,
    token: str | None,
    as_json: bool,
) -> None:
    """Look for what is easily wrong around a server, and say what to do about it.

    Give it the options of `serve` behind --, or its --config; variables count, too. Run it as the
    server's user. It looks at the options, the keys and the certificate, the store's files and
    disk, who sleeps in it, the limits of open files and memory, the ports, the clock and the
    libraries. It asks the admin port of a running server whether it is ready. It changes nothing.

    With --through it connects as a client does, through the proxy: does the WebSocket open, is a
    page of that host let in, does the server see a client's own address, and does an idle
    connection live. For that it joins a gathering of its own (doctor-...), and ends it.

    Each line is OK, WARN or FAIL. The exit code is 1 if something fails. With --json, it prints
    {"level": "warn", "findings": [{"check", "level", "says", "do"}, ...]}.

    \b
    Examples:
      squire-gatherings doctor --config squire.toml
      squire-gatherings doctor -- --store sqlite:////var/lib/squire/rooms.sqlite3
      squire-gatherings doctor --config squire.toml --through wss://rooms.example.com --idle 90s
    """
    if idle and through is None:
        raise click.UsageError("--idle goes with --through")
    if through is not None and not through.startswith(("ws://", "wss://")):
        raise click.UsageError("--through takes a URL such as wss://rooms.example.com")
    if admin is not None:
        check_url(admin)
    arguments = serve_options if config is None else ("--config", config, *serve_options)
    options, wrong = read_options(context, arguments)
    findings = trio.run(
        partial(_examine, options, wrong, admin, admin_token_file, through, idle, token),
        restrict_keyboard_interrupt_to_checkpoints=True,
    )
    if as_json:
        print_json(level=worst(findings), findings=[one.json for one in findings])
    else:
        for one in findings:
            print_line(one.line)
    if worst(findings) is Level.FAIL:
        sys.exit(FAILED)


async def _examine(
    options: Mapping[str, Any] | None,
    wrong: Finding | None,
    admin: str | None,
    token_file: str | None,
    through: str | None,
    idle: float,
    token: str | None,
) -> list[Finding]:
    findings, setup = [], None
    if wrong is not None:
        findings.append(wrong)
    if options is not None:
        setup, found = await _examine_here(options)
        findings += found
    findings += [*check_libraries(setup), check_clock()]
    url = admin or _admin_url(setup)
    file = token_file or (None if options is None else options["admin_token_file"])
    way = None
    if through is not None:
        proxies = () if options is None else options["proxies"]
        way = Way(through, token, proxies, idle)
    if url is None or file is None:
        return findings if way is None else [*findings, *await check_through(way, None)]
    try:
        async with open_port(PortOptions(url, file)) as port:
            findings += await check_running(port)
            return findings if way is None else [*findings, *await _go_through(way, port)]
    except CannotAsk as error:
        why = error.format_message()
        if admin is None:
            findings.append(ok("server", f"not asked: {why}"))
        else:
            findings.append(fail("server", why, "start it with --admin-port"))
    return findings if way is None else [*findings, *await check_through(way, None)]


async def _go_through(way: Way, port: AdminPort) -> list[Finding]:
    try:
        return await check_through(way, port)
    except click.ClickException as error:
        return [fail("address", error.format_message(), "look at the admin port")]


async def _examine_here(options: Mapping[str, Any]) -> tuple[Setup | None, list[Finding]]:
    """Look at what is on this machine."""
    open_files = raise_open_files()
    setup, findings = read_setup(options, open_files)
    if setup is None:
        return None, findings
    findings += check_certificate(options)
    for number in range(options["workers"]):
        store = store_of(options, number)
        findings += [*check_store_files(store), *check_sleep(setup, store, time.time())]
    findings += [check_open_files(options, open_files), check_memory(setup, memory_allowed())]
    scheme = "ws" if setup.certificate is None else "wss"
    findings.append(await check_port("port", options["host"], options["port"], scheme))
    if setup.admin is not None:
        findings += check_token_file(setup.admin.token_file)
        findings.append(await check_port("admin port", setup.admin.host, setup.admin.port, None))
    return setup, findings


def _admin_url(setup: Setup | None) -> str | None:
    if setup is None or setup.admin is None or not setup.admin.port:
        return None
    return f"http://{reached(setup.admin.host)}:{setup.admin.port}"
