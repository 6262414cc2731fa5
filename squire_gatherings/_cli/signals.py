"""Signals: which ones stop a server in an orderly way, and which ones it ignores."""

import errno
import os
import signal

_STOP = ("SIGINT", "SIGTERM", "SIGHUP")
_UPGRADE = "SIGUSR2"
_IGNORED = ("SIGUSR1", "SIGUSR2", "SIGPIPE")


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that end a server with a notice to everybody.

    Not a SIGHUP that is ignored already: who began with `nohup` is to outlive its terminal.
    """
    found = [signal.Signals[name] for name in _STOP if hasattr(signal, name)]
    return tuple(
        one for one in found if one.name != "SIGHUP" or signal.getsignal(one) != signal.SIG_IGN
    )


def upgrade_signals() -> tuple[signal.Signals, ...]:
    """Return the signals at which a server goes on in a new process."""
    return (signal.Signals[_UPGRADE],) if hasattr(signal, _UPGRADE) else ()


class Terminal:
    """The terminal that the process was started from, if it was started from one.

    SIGHUP comes of a terminal that is gone, or of somebody who wants files to be read again.
    """

    def __init__(self) -> None:
        self._was_there = _has_terminal()

    def is_lost(self) -> bool:
        """Whether there was one, and it is gone."""
        return self._was_there and not _has_terminal()


def _has_terminal() -> bool:
    flags = os.O_RDWR | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        os.close(os.open("/dev/tty", flags))
    except OSError as error:
        # Not where there's no descriptor left to look with.
        return error.errno not in (errno.ENXIO, errno.EIO, errno.ENODEV, errno.ENOENT)
    return True


def ignore_signals() -> None:
    """Ignore what would kill the process without a notice, and means nothing to it."""
    for name in _IGNORED:
        if hasattr(signal, name):
            signal.signal(signal.Signals[name], signal.SIG_IGN)
