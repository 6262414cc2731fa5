"""Limits of the system: how many files may be open; each connection is one."""

import sys

if sys.platform != "win32":
    import resource


def raise_open_files() -> int | None:
    """Raise the soft limit of open files to the hard one.

    Returns:
        The limit; None if there is none.
    """
    if sys.platform == "win32":
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        # Some systems name a hard limit that they don't give (macOS: no limit at all).
        return None if soft == resource.RLIM_INFINITY else soft
    return None if hard == resource.RLIM_INFINITY else hard
