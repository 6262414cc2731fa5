"""Memory: how much of it this process may use, as its control group or the machine allows."""

import os
from pathlib import Path

_NO_LIMIT = 2**60
"""A control group of version 1 that has no limit says a larger number."""


def memory_allowed(root: Path = Path("/")) -> int:
    """Return how many bytes the process may use: the least of all limits that it is under.

    Args:
        root: Where `proc` and `sys` are.
    """
    return min([_machine(), *_groups(root)])


def _machine() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return _NO_LIMIT


def _groups(root: Path) -> list[int]:
    """Return the limits of the control groups that the process is in, and of those around them."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found: list[int] = []
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            found += _limits(root / "sys/fs/cgroup", path, "memory.max")
        elif "memory" in controllers.split(","):
            found += _limits(root / "sys/fs/cgroup/memory", path, "memory.limit_in_bytes")
    return found


def _limits(base: Path, path: str, name: str) -> list[int]:
    parts = [part for part in path.split("/") if part not in ("", "..")]
    found: list[int] = []
    for count in range(len(parts) + 1):
        try:
            text = base.joinpath(*parts[:count], name).read_text().strip()
        except OSError:
            # In a container the path is often that of the host.
            continue
        if text.isdecimal() and 0 < int(text) < _NO_LIMIT:
            found.append(int(text))
    return found
