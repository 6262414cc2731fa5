"""Reloads: what a running server reads again when it is told to (SIGHUP)."""

import logging
from collections.abc import Callable, Sequence

import trio
from attrs import define, field

from squire_gatherings._values.errors import BadSetting

_log = logging.getLogger(__name__)


@define(eq=False)
class Reloads:
    """Calls that read files again. What can't be read is logged, and what was read before stays.

    They run in a thread, one after the other: a slow file holds nobody up.
    """

    calls: Sequence[Callable[[], None]]
    _wanted: trio.Event = field(factory=trio.Event)

    def ask(self) -> None:
        """Have everything read again soon. Asked while it reads, it reads once more afterwards."""
        self._wanted.set()

    async def run(self) -> None:
        """Read whenever asked, until cancelled. Cancelled, it doesn't wait for a file."""
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            done = [await self._make(call) for call in self.calls]
            _log.info("reloaded", extra={"read": sum(done), "failed": len(done) - sum(done)})

    async def _make(self, call: Callable[[], None]) -> bool:
        try:
            await trio.to_thread.run_sync(call, abandon_on_cancel=True)
        except BadSetting as error:
            _log.error("can't reload, and go on with what was there: %s", error)
        except Exception:
            _log.exception("can't reload, and go on with what was there")
        else:
            return True
        return False
