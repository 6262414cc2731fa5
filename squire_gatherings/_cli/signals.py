"""Signals: which ones stop a server in an orderly way, and which ones it ignores."""

import signal

_STOP = ("SIGINT", "SIGTERM", "SIGHUP")
_IGNORED = ("SIGUSR1", "SIGUSR2", "SIGPIPE")


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that end a server with a notice to everybody.

    Not a SIGHUP that is ignored already: who began with `nohup` is to outlive its terminal.
    """
    found = [signal.Signals[name] for name in _STOP if hasattr(signal, name)]
    return tuple(
        one for one in found if one.name != "SIGHUP" or signal.getsignal(one) != signal.SIG_IGN
    )


def ignore_signals() -> None:
    """Ignore what would kill the process without a notice, and means nothing to it."""
    for name in _IGNORED:
        if hasattr(signal, name):
            signal.signal(signal.Signals[name], signal.SIG_IGN)
