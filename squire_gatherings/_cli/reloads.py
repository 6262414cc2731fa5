"""Reloads: what a running server reads again when it is told to (SIGHUP): all of it, or nothing."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import attrs
import click
import trio
from attrs import define, field

from squire_gatherings._admin.audit import audit
from squire_gatherings._cli.audit_log import by_signal
from squire_gatherings._cli.configuration import read_again, settings_of
from squire_gatherings._cli.logs import set_level
from squire_gatherings._cli.setup import Current, Setup, make_setup
from squire_gatherings._cli.supervisor import Supervisor
from squire_gatherings._hall.hall import Hall
from squire_gatherings._server import Server
from squire_gatherings._values.errors import BadSetting

_log = logging.getLogger(__name__)

TakeOver = Callable[[], Mapping[str, object] | None]
"""Takes over what was read, at once; returns what the log says of it, if anything."""

_SWITCHES_TLS = ("tls_cert", "tls_key")


@define(eq=False)
class Reloads:
    """Has everything read again. What can't be read is logged, and all stays as it was then.

    It is read in a thread: a slow file holds nobody up.
    """

    reads: Sequence[Callable[[], TakeOver]]
    reopen: Callable[[], None] | None = None
    """Opens the audit log again, whatever comes of the rest: its file may have been moved."""
    supervisor: Supervisor = field(factory=Supervisor)
    """Is told that it reads."""
    _wanted: trio.Event = field(factory=trio.Event)

    def ask(self) -> None:
        """Have everything read again soon. Asked while it reads, it reads once more afterwards."""
        self._wanted.set()

    async def run(self) -> None:
        """Read whenever asked, until cancelled. Cancelled, it doesn't wait for a file."""
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            self.supervisor.reloading()
            if self.reopen is not None:
                await self._try_to_reopen(self.reopen)
            target, outcome, trouble = "", "failed", ""
            try:
                take_overs = await trio.to_thread.run_sync(self._read, abandon_on_cancel=True)
            except (BadSetting, click.ClickException) as error:
                trouble = str(error) if isinstance(error, BadSetting) else error.format_message()
                _log.error("can't reload, and go on with what was there", extra={"why": trouble})
            except Exception as error:
                trouble = type(error).__name__
                _log.exception("can't reload, and go on with what was there")
            else:
                said: dict[str, object] = {}
                for take_over in take_overs:
                    said |= take_over() or {}
                target, outcome = f"options: {said.get('options') or 'none'}", "done"
                _log.info("reloaded", extra=said)
            audit("reload", by_signal("SIGHUP"), target, outcome)
            self.supervisor.reloaded(trouble)

    async def _try_to_reopen(self, reopen: Callable[[], None]) -> None:
        try:
            await trio.to_thread.run_sync(reopen, abandon_on_cancel=True)
        except BadSetting as error:
            _log.error("the audit log stays the old file", extra={"why": str(error)})

    def _read(self) -> list[TakeOver]:
        return [read() for read in self.reads]


def read_setup(
    context: click.Context,
    open_files: int | None,
    current: Current,
    hall: Hall,
    server: Server,
) -> TakeOver:
    """Read everything again that options name, and the options themselves.

    Args:
        context: That of `serve`.
        open_files: As for `make_setup`.
        current: The setup that counts now.
        hall: The hall that is served.
        server: The server.

    Raises:
        click.ClickException, BadSetting: Something is wrong with a file.
    """
    before, options = current.setup.options, read_again(context)
    # All of it must be right, also what only the next start takes.
    setup = make_setup(options, open_files)
    changed = {name for name, value in options.items() if value != before.get(name)}
    settings = {one.name: one for one in settings_of(context.command).values()}
    may_change = {name for name, one in settings.items() if one.reloads}
    if (options["tls_cert"] is None) != (before["tls_cert"] is None):
        may_change.difference_update(_SWITCHES_TLS)
    kept = changed - may_change
    if kept:
        setup = make_setup(options | {name: before[name] for name in kept}, open_files)
    taken, left = (
        ",".join(sorted(settings[name].key for name in names)) for names in (changed - kept, kept)
    )
    return partial(_take_over, setup, taken, left, current, hall, server)


def _take_over(
    setup: Setup, taken: str, left: str, current: Current, hall: Hall, server: Server
) -> Mapping[str, object]:
    hall.change_settings(**attrs.asdict(setup.hall, recurse=False))
    server.settings = setup.server
    set_level(setup.options["log_level"])
    current.change(setup)
    if left:
        _log.warning("a restart is needed for some options", extra={"options": left})
    return {"options": taken}
