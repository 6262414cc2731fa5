"""`serve`: a hall behind a WebSocket server. The command, before the server runs (`running`)."""

import faulthandler
import logging
from functools import partial
from typing import Any

import click
import trio

from squire_gatherings._cli.activation import passed_listeners
from squire_gatherings._cli.admin import admin_options
from squire_gatherings._cli.audit_log import audit_log, audit_option
from squire_gatherings._cli.auth import auth_options
from squire_gatherings._cli.configuration import ConfiguredCommand, config_option
from squire_gatherings._cli.doors import door_options
from squire_gatherings._cli.ends import end_options
from squire_gatherings._cli.example import example_of
from squire_gatherings._cli.limits import raise_open_files
from squire_gatherings._cli.logs import logs
from squire_gatherings._cli.nodes import check_node, node_options
from squire_gatherings._cli.options import (
    DURATION,
    DURATION_OR_ENDLESS,
    DURATION_OR_OFF,
    ENVIRONMENT,
    MESSAGE_SIZE,
    RATE,
    option,
    reloaded,
)
from squire_gatherings._cli.presence import presence_options
from squire_gatherings._cli.printing import print_line
from squire_gatherings._cli.running import DRAINED_WITHIN, check_exposed, run_server, scheme_of
from squire_gatherings._cli.setup import make_setup
from squire_gatherings._cli.signals import ignore_signals
from squire_gatherings._cli.supervisor import find_supervisor
from squire_gatherings._cli.takeover import find_takeover
from squire_gatherings._cli.telemetry import telemetry_option
from squire_gatherings._cli.webhook import webhook_options
from squire_gatherings._cli.workers.keeping import keep_workers
from squire_gatherings._cli.workers.places import check_workers, prepare_store, workers_option
from squire_gatherings._cli.workers.worker import find_worker, sockets_of
from squire_gatherings._collector import calm_the_collector
from squire_gatherings._hall.clock import BootTimeClock
from squire_gatherings._stores import check_store, is_postgres

_log = logging.getLogger(__name__)


@click.command("serve", cls=ConfiguredCommand, context_settings=ENVIRONMENT)
@config_option
@option("--host", default="127.0.0.1", help="Address or name to listen on.")
@option("--port", default=8765, type=click.IntRange(0, 65535), help="0 picks a free one.")
@auth_options
@option(
    "--store",
    default="sqlite:///squire_gatherings.sqlite3",
    help="Where logs last: sqlite:///PATH (four slashes: absolute), postgresql://HOST/DATABASE,"
    " or memory: for nowhere.",
)
@workers_option
@node_options
@reloaded(
    "--idle-timeout",
    default="24h",
    type=DURATION_OR_ENDLESS,
    help="No message this long: it ends.",
)
@reloaded(
    "--empty-timeout",
    default="off",
    type=DURATION_OR_OFF,
    help="No connection this long: it ends.",
)
@end_options
@presence_options
@reloaded("--close-grace", default="5s", type=DURATION, help="Time that a notice may take.")
@reloaded("--retry-interval", default="250ms", type=DURATION, help="First repeat; doubles.")
@reloaded(
    "--retry-limit",
    default="10s",
    type=DURATION,
    help="No acknowledgement this long: closed.",
)
@reloaded(
    "--max-message-size",
    default="256KiB",
    type=MESSAGE_SIZE,
    help="Largest from a client.",
)
@option(
    "--ping-interval", default="20s", type=DURATION_OR_ENDLESS, help="Silent this long: pinged."
)
@reloaded("--rate-limit", default="off", type=RATE, help="Messages per second and client.")
@door_options
@webhook_options
@admin_options
@reloaded(
    "--log-level",
    default="warning",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Least level that is logged.",
)
@option(
    "--log-format",
    default="text",
    type=click.Choice(["text", "json"]),
    help="Lines of key=value, or of JSON.",
)
@audit_option
@telemetry_option
@option(
    "--print-config",
    is_flag=True,
    in_file=False,
    allow_from_autoenv=False,
    help="Print an example of a FILE for --config, with all options, and exit.",
)
@option(
    "--check-config",
    is_flag=True,
    in_file=False,
    allow_from_autoenv=False,
    help="Check all options, and the files that they name, and exit.",
)
@click.pass_context
def serve(context: click.Context, /, **options: Any) -> None:
    """Serve gatherings until SIGINT or SIGTERM, or until its terminal is lost.

    Without --auth jwt, ANYBODY WHO REACHES THE SERVER MAY READ AND WRITE EVERYTHING. So it
    then listens on this machine only, unless --insecure is given.

    Prints one line on standard output when it is ready, and logs to standard error. Each
    option may also come from the environment: --idle-timeout is SQUIRE_IDLE_TIMEOUT; or from a
    file (--config). Durations have units: 24h, 1h30m, 2.5s, 500ms. Sizes: 65536, 64KiB, 1MiB.

    \b
    Examples:
      squire-gatherings serve
      squire-gatherings serve --port 0 --store memory: --idle-timeout 2s
      squire-gatherings serve --host 0.0.0.0 --auth jwt --jwt-key squire.key.pub
      SQUIRE_STORE=sqlite:////var/lib/squire/rooms.sqlite3 squire-gatherings serve
      squire-gatherings serve --print-config > squire.toml
      squire-gatherings serve --config squire.toml
    """
    if options["print_config"]:
        print_line(example_of(context.command))
        return
    open_files = raise_open_files()
    setup = make_setup(options, open_files)
    check_workers(options)
    check_node(options)
    if options["check_config"]:
        check_store(options["store"])
        print_line("nothing is wrong with the options")
        return
    takeover = find_takeover()
    worker = find_worker()
    listeners = passed_listeners() if worker is None else sockets_of(worker.listeners)
    supervisor = find_supervisor()
    if supervisor.watchdog is not None:
        # A loop that hangs is ended by SIGABRT: this says where it hung.
        faulthandler.enable()
    ignore_signals()
    calm_the_collector()
    if worker is None:
        prepare_store(options)
    named = {} if worker is None else {"worker": worker.number}
    with logs(options["log_level"], options["log_format"], named):
        for name in context.obj:
            _log.info("a service link in the environment is ignored", extra={"variable": name})
        if worker is None and options["workers"] > 1:
            check_exposed(setup, listeners)
            grace = setup.hall.close_grace + (
                DRAINED_WITHIN if is_postgres(options["store"]) else 0
            )
            keep = partial(keep_workers, options, scheme_of(setup), grace)
            raise click.exceptions.Exit(trio.run(keep, supervisor, listeners))
        _log.info("open files", extra={"files": open_files})
        run = partial(
            run_server,
            supervisor=supervisor,
            listeners=listeners,
            takeover=takeover,
            worker=worker,
        )
        with audit_log(options["audit_log"]) as audit_file:
            trio.run(run, context, setup, open_files, audit_file, clock=BootTimeClock())
