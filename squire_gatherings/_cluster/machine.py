"""The machine: what two processes have in common that reach each other's private sockets."""

import os
import platform
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_MOUNTS = Path("/proc/self/ns/mnt")


def this_machine() -> str:
    """Return the same text in all processes of one user that see the same files, and no others.

    Containers of one machine have different files, and so are different machines.
    """
    parts = [platform.node(), str(os.geteuid()) if hasattr(os, "geteuid") else ""]
    with suppress(OSError):
        parts.append(_BOOT.read_text().strip())
    with suppress(OSError):
        parts.append(os.readlink(_MOUNTS))
    return sha256("\n".join(parts).encode()).hexdigest()[:16]
