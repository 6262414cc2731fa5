"""The audit log: a file with what operators did, on the command line and by signals, too.

Each line is a record of JSON: `action`, `operator`, `target`, `outcome`, `timestamp`. Nothing but
`--audit-log` is needed for it: it doesn't depend on the level of the other logs.
"""

import getpass
import logging
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from attrs import define, field

from squire_gatherings._admin.audit import audit
from squire_gatherings._cli.logs import formatter, writing_to
from squire_gatherings._cli.options import FILE, option
from squire_gatherings._stores import store_name
from squire_gatherings._values.errors import BadSetting

if sys.platform != "win32":
    import pwd

LOGGER = "squire_gatherings.audit"

audit_option = option(
    "--audit-log",
    type=FILE,
    metavar="FILE",
    help="File to which each action of an operator is added, as a line of JSON. Opened again on"
    " SIGHUP.",
)


@define
class AuditFile:
    """The open file; lines are only ever added to it."""

    path: str
    number: int = field(init=False)
    """Its descriptor, which stays the same."""

    def __attrs_post_init__(self) -> None:
        self.number = _open(self.path)

    def reopen(self) -> None:
        """Open what has the path now: somebody may have moved the file.

        Raises:
            BadSetting: It can't be opened. The old one stays.
        """
        new = _open(self.path)
        try:
            os.dup2(new, self.number, inheritable=False)
        finally:
            os.close(new)


@contextmanager
def audit_log(path: str | None) -> Iterator[AuditFile | None]:
    """Write what a server's operators do to a file, if there is one, while the block runs.

    It also goes where the other logs go, whatever their level.

    Raises:
        BadSetting: The file can't be opened.
    """
    logger = logging.getLogger(LOGGER)
    logger.setLevel(logging.INFO)
    if path is None:
        yield None
        return
    file = AuditFile(path)
    try:
        with writing_to(file.number, formatter("json")) as handler:
            logger.handlers[:] = [handler]
            try:
                yield file
            finally:
                logger.handlers[:] = []
    finally:
        os.close(file.number)


@contextmanager
def audited(path: str | None, action: str, store: str) -> Iterator[list[str]]:
    """Write to a file what a command does to a store, if there is a file.

    Yields:
        A list, to which the block adds the gatherings that it was done to: one line for each. If
        the block raises, one line says that it failed.

    Raises:
        BadSetting: The file can't be opened; the block isn't run.
    """
    done: list[str] = []
    if path is None:
        yield done
        return
    file = AuditFile(path)
    store = store_name(store)
    logger = logging.getLogger(LOGGER)
    try:
        with open(file.number, "a", encoding="utf-8", errors="backslashreplace") as lines:
            handler = logging.StreamHandler(lines)
            handler.setFormatter(formatter("json"))
            logger.handlers[:], logger.propagate = [handler], False
            logger.setLevel(logging.INFO)
            operator = who_runs_it()
            try:
                yield done
            except BaseException:
                audit(action, operator, store, "failed")
                raise
            for gathering in done:
                audit(action, operator, f"{gathering} in {store}", "done")
    finally:
        logger.handlers[:], logger.propagate = [], True


def who_runs_it() -> str:
    """Return who runs this process, as the system knows: `uid 1000 (alice)`."""
    if sys.platform == "win32":
        return getpass.getuser()
    # Not what the environment says of it.
    uid, name = os.getuid(), ""
    with suppress(KeyError):
        name = f" ({pwd.getpwuid(uid).pw_name})"
    return f"uid {uid}{name}"


def by_signal(name: str) -> str:
    """Return who may have sent a signal: the system doesn't say who did."""
    return f"{name} from {who_runs_it()} or root"


def _open(path: str) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
    try:
        number = os.open(path, flags, 0o600)
        if stat.S_ISREG(os.fstat(number).st_mode):
            return number
        os.close(number)
        why = "is not a file"
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
    raise BadSetting(f"the audit log {path[:500]!r} can't be written: {why}")
