"""The watch: sees what the product logs as an error, and which of that was meant."""

import logging

from squire_gatherings.testing import StoreBroke
from tests.system.book import Boom
from tests.system.truth import Truth

MEANT = (Boom, StoreBroke)
"""The errors that may crash a gathering."""

EVENTS_LOST = "events were lost"
SLEEP_LOST = "the store doesn't know which gatherings slept"
"""How the hall's log begins to say so."""


class Watch(logging.Handler):
    """Notes unexpected errors."""

    def __init__(self, truth: Truth) -> None:
        super().__init__(logging.ERROR)
        self.truth = truth

    def emit(self, record: logging.LogRecord) -> None:
        if self.truth.events is not None and record.getMessage().startswith(EVENTS_LOST):
            # The store was away until the end, or killed. What that may lose is checked.
            return
        if record.getMessage().startswith(SLEEP_LOST):
            return
        error = record.exc_info[1] if record.exc_info else None
        if not _is_meant(error):
            self.truth.faults.append(f"logged: {record.getMessage()}: {error!r}")


def _is_meant(error: BaseException | None) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_is_meant(one) for one in error.exceptions)
    return isinstance(error, MEANT)
