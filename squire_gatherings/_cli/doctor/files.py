"""Checks of files: the store's folder, who may read it, what is left of the disk, and the token."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from squire_gatherings._cli.audit_log import who_runs_it
from squire_gatherings._cli.doctor.database import check_database
from squire_gatherings._cli.doctor.findings import Finding, fail, ok, warn
from squire_gatherings._cli.units import format_size
from squire_gatherings._stores import is_postgres, sqlite_path

LEAST_FREE = 64 * 1024**2
"""With less, `/readyz` says no."""

LITTLE_FREE = 1024**3

NETWORK = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gfs2", "ocfs2"),
    *("fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone", "virtiofs"),
}
"""File systems on which SQLite's write-ahead log and its locks don't work, or not for sure."""

FLEETING = {"tmpfs", "ramfs", "overlay"}
"""File systems that end with the machine or the container."""

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def check_store_files(store: str, mounts: str | None = None) -> Iterator[Finding]:
    """Check the file of a store. `mounts` is what `/proc/self/mountinfo` says."""
    if store == "memory:":
        yield warn("store", "logs are in memory, and end with the process", "give it a --store")
        return
    if is_postgres(store):
        yield from check_database(store)
        return
    path = Path(os.path.realpath(sqlite_path(store)))
    folder = path.parent
    if not folder.is_dir():
        yield fail("store", f"the folder {folder} isn't there", f"make it: mkdir -m 700 {folder}")
        return
    yield _writable(path, folder)
    for one in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        yield from _private("store", one)
    yield _disk(path, folder)
    kind = file_system_of(str(folder), _mounts() if mounts is None else mounts)
    if kind in NETWORK:
        do = "put it on a disk of this machine"
        yield fail("file system", f"{folder} is on {kind}, over the network", do)
    elif kind in FLEETING:
        do = "put it on a volume that lasts"
        yield warn("file system", f"{folder} is on {kind}, which ends with its container", do)
    elif kind is not None:
        yield ok("file system", f"{folder} is on {kind}")


def check_token_file(path: str) -> Iterator[Finding]:
    """Check who may read the operators' token."""
    if os.path.exists(path):
        yield from _private("token", Path(path))
        if os.access(path, os.R_OK):
            yield ok("token", f"{path} can be read")
        else:
            yield fail("token", f"{path} can't be read by {who_runs_it()}", "chown it")


def _writable(path: Path, folder: Path) -> Finding:
    who = who_runs_it()
    if not os.access(folder, os.W_OK | os.X_OK):
        return fail("store", f"{who} can't write in {folder}", "chown it to the server's user")
    if not path.exists():
        return ok("store", f"{path} isn't there yet; {who} can make it")
    if not path.is_file():
        return fail("store", f"{path} is no file", "name another --store")
    if not os.access(path, os.R_OK | os.W_OK):
        return fail("store", f"{who} can't write {path}", "chown it to the server's user")
    if hasattr(os, "geteuid") and path.stat().st_uid != os.geteuid():
        owner = path.stat().st_uid
        do = f"run doctor as uid {owner} if the server does, or chown it"
        return warn("store", f"{path} belongs to uid {owner}, not to {who}", do)
    return ok("store", f"{path} can be written by {who}, {format_size(path.stat().st_size)}")


def _private(check: str, path: Path) -> Iterator[Finding]:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return
    if mode & _OTHERS:
        yield warn(check, f"others may use {path} ({mode:04o})", f"chmod 600 {path}")


def _disk(path: Path, folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    size = path.stat().st_size if path.exists() else 0
    says = f"{format_size(free)} are free in {folder}"
    if free < LEAST_FREE:
        return fail("disk", says, "make room: commits are about to fail")
    if free < max(LITTLE_FREE, size):
        return warn(
            "disk", says, "make room: a backup, or delete, may need as much as the store has"
        )
    return ok("disk", says)


def _mounts() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text(errors="replace")
    except OSError:
        return ""


def file_system_of(path: str, mounts: str) -> str | None:
    """Return the kind of file system a path is on, as Linux tells it; None if it isn't known."""
    best, kind = "", None
    for line in mounts.splitlines():
        before, mark, after = line.partition(" - ")
        fields = before.split(" ")
        if not mark or len(fields) < 5:
            continue
        # Blanks and such are written as \040 there.
        point = fields[4].encode().decode("unicode_escape", "replace")
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, after.split(" ")[0]
    return kind
