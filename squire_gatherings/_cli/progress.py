"""Progress: what a long command shows on the terminal, and how a signal ends it."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from squire_gatherings._cli.printing import is_terminal
from squire_gatherings._cli.signals import stop_signals
from squire_gatherings._stores.offline import GivenUp

INTERVAL = 0.2
"""How many seconds lie between two looks at the progress."""


class Progress:
    """Shows on the last line of the terminal what is done, and notes a signal.

    A handler that raises does so anywhere, also where SQLite swallows it.
    """

    def __init__(self, *, shown: bool | None = None) -> None:
        self._shown = is_terminal(sys.stderr) if shown is None else shown
        self._next = 0.0
        self._stopped_by = 0
        self._text = ""

    def stopped(self) -> bool:
        """Whether a signal has come; shows on the way what is done."""
        self.tell(self._text)
        return bool(self._stopped_by)

    def tell(self, text: str, *, now: bool = False) -> None:
        """Show what is done, unless that was shown a moment ago."""
        self._text = text
        if self._shown and (now or time.monotonic() >= self._next):
            self._next = time.monotonic() + INTERVAL
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take away what is shown."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Note signals within the block, and exit as they say when it gives up."""

        def stop(number: int, _: object) -> None:
            self._stopped_by = number

        before = {number: signal.signal(number, stop) for number in stop_signals()}
        try:
            yield
            if self._stopped_by:
                raise GivenUp
        except GivenUp:
            sys.exit(128 + self._stopped_by)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self.clear()
