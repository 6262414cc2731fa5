"""Checks of the clock: instants, tokens and certificates are by the time of day."""

import ctypes
import sys
import time
from collections.abc import Callable

from squire_gatherings._cli.doctor.findings import Finding, fail, ok, warn

BUILT = 1_760_000_000
"""A time before this program was written, in seconds since 1970: no right clock shows less."""

_UNSYNCHRONIZED = 5
"""What the kernel says (`TIME_ERROR`)."""

_STRUCT = 512
"""More bytes than `struct timex` has. All zero, it only asks."""


def kernel_clock() -> int | None:
    """Return what the kernel says of its clock; None where it can't be asked."""
    if sys.platform != "linux":
        return None
    try:
        return int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_STRUCT)))
    except (OSError, AttributeError):
        return None


def check_clock(
    now: Callable[[], float] = time.time, kernel: Callable[[], int | None] = kernel_clock
) -> Finding:
    """Check that the time of day can be right, and that something keeps it so."""
    shown = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now()))
    if now() < BUILT:
        return fail("clock", f"it shows {shown}", "set the clock")
    state = kernel()
    if state == _UNSYNCHRONIZED:
        do = "run chrony or systemd-timesyncd, on the host if this is a container"
        return warn("clock", f"it shows {shown}, and nothing synchronizes it", do)
    if state is None or state < 0:
        return ok("clock", f"it shows {shown}; whether it is synchronized can't be told here")
    return ok("clock", f"it shows {shown}, and is synchronized")
