"""Logs: the library's standard log records as lines of text or JSON on standard error.

Code that logs never waits for the reader: lines go through a bounded queue to a thread that writes
them. While nobody reads (a stuck pipe), the queue fills up, and what doesn't fit is counted.
"""

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from logging.handlers import QueueHandler, QueueListener
from queue import Full, Queue
from threading import Event
from typing import Any, Literal

import structlog

LogFormat = Literal["text", "json"]

QUEUED = 10_000
"""How many records may wait to be written."""

LAST_WORDS = 0.25
"""How many seconds the end waits until everything logged is written."""


@contextmanager
def logs(
    level: str, log_format: LogFormat, always: Mapping[str, object] | None = None
) -> Iterator[None]:
    """Send log records to standard error while the block runs.

    The end of the block waits until they are written, for `LAST_WORDS` seconds at most.

    Args:
        level: The least level that is logged.
        log_format: What each line is.
        always: Fields that each line has.
    """
    root = logging.getLogger()
    set_level(level)
    if sys.stderr is None:
        # It was closed before we began: another file may have its number by now.
        root.handlers[:] = [logging.NullHandler()]
        yield
        return
    with writing_to(sys.stderr.fileno(), formatter(log_format, always)) as handler:
        root.handlers[:] = [handler]
        try:
            yield
        finally:
            root.handlers[:] = [logging.NullHandler()]


@contextmanager
def writing_to(file: int, lines: logging.Formatter) -> Iterator[logging.Handler]:
    """Yield a handler that writes to an open file, and that nobody who logs has to wait for.

    The end of the block waits as that of `logs` does.
    """
    records: Queue[logging.LogRecord] = Queue(QUEUED)
    queue = _Bounded(records)
    queue.setFormatter(lines)
    writer = _Writer(file)
    # Its thread is a daemon: it keeps nobody from exiting, whatever it waits for.
    QueueListener(records, writer).start()
    try:
        yield queue
    finally:
        queue.finish(writer)


def set_level(level: str) -> None:
    """Set the least level that is logged."""
    logging.getLogger().setLevel(level.upper())


class _Bounded(QueueHandler):
    """Puts lines into the queue. Those that don't fit are dropped, and counted."""

    queue: "Queue[logging.LogRecord]"

    def __init__(self, records: "Queue[logging.LogRecord]") -> None:
        super().__init__(records)
        self._dropped = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        with suppress(Full):
            if self._dropped:
                self.queue.put_nowait(self._count())
                self._dropped = 0
            self.queue.put_nowait(record)
            return
        self._dropped += 1

    def finish(self, writer: "_Writer") -> None:
        """Wait until all is written, but not for long."""
        with suppress(Full):
            if self._dropped:
                self.queue.put(self._count(), timeout=LAST_WORDS / 2)
            self.queue.put(writer.last, timeout=LAST_WORDS / 2)
            writer.is_done.wait(LAST_WORDS / 2)

    def _count(self) -> logging.LogRecord:
        event = f"{self._dropped} log records were dropped: nobody reads them fast enough"
        fields = {"name": __name__, "levelno": logging.ERROR, "levelname": "ERROR", "msg": event}
        return self.prepare(logging.makeLogRecord(fields))  # type: ignore[no-any-return,unused-ignore]


class _Writer(logging.NullHandler):
    """Writes lines to a file, on the queue's thread.

    It has no lock and no buffer: if this thread is stuck, the exit would wait for them in vain.
    (That's why it is a `NullHandler`.)
    """

    def __init__(self, file: int) -> None:
        super().__init__()
        self._file = file
        self.last = logging.makeLogRecord({})
        """A record that says that there will be no more."""
        self.is_done = Event()

    def handle(self, record: logging.LogRecord) -> bool:
        if record is self.last:
            self.is_done.set()
            return False
        line = memoryview(f"{record.getMessage()}\n".encode(errors="backslashreplace"))
        with suppress(OSError):
            while line:
                line = line[os.write(self._file, line) :]
        return True


class _Text(structlog.processors.LogfmtRenderer):
    """Makes a line of a record. What isn't there has no field."""

    def __init__(self) -> None:
        order = ["timestamp", "level", "event", "gathering", "incarnation"]
        super().__init__(key_order=order, drop_missing=True)

    def __call__(self, _: Any, name: str, fields: structlog.typing.EventDict) -> str:
        present = {key: value for key, value in fields.items() if value is not None}
        return _printable(super().__call__(_, name, present))


def _add(
    always: Mapping[str, object], _: Any, name: str, fields: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    # What a record says itself counts.
    return {**always, **fields}


def _printable(line: str) -> str:
    """Escape what would break the line or the terminal: clients choose some of the texts."""
    if line.isprintable():
        return line
    return "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in line)


def formatter(
    log_format: LogFormat, always: Mapping[str, object] | None = None
) -> logging.Formatter:
    """Return what makes a line of each record, with fields that each has `always`."""
    renderer: structlog.typing.Processor
    # JSON has escapes for all that isn't ASCII.
    renderer = structlog.processors.JSONRenderer() if log_format == "json" else _Text()
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            partial(_add, always or {}),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            renderer,
        ],
    )
