"""The check of a store in PostgreSQL: whether it answers, and keeps what it acknowledges."""

from collections.abc import Iterator

from squire_gatherings._cli.doctor.findings import Finding, fail, ok, warn
from squire_gatherings._stores.offline import Database, look_at_database
from squire_gatherings._values.errors import StoreUnavailable, StoreUnusable

CHECK = "store"

SLOW = 0.02
"""How many seconds a question may take until that is told: each commit takes so long at least."""


def check_database(store: str) -> Iterator[Finding]:
    """Connect to the database of a store, and look at it. Nothing is changed."""
    try:
        found: Database = look_at_database(store)
    except StoreUnusable as error:
        yield fail(CHECK, str(error), "let --store name another database or schema")
        return
    except StoreUnavailable as error:
        yield fail(CHECK, str(error), "is it there, and may this user connect?")
        return
    what = f"schema version {found.version}" if found.version else "no store yet; it will be made"
    yield ok(CHECK, f"{found.name} is PostgreSQL {found.server}, {what}")
    if not found.flushes:
        says = f"{found.name} doesn't wait for its disk (fsync is off)"
        yield fail(CHECK, says, "set fsync = on: a crash of its machine damages everything")
    if found.answers_in > SLOW:
        says = f"{found.name} answers in {found.answers_in * 1000:.0f} ms"
        yield warn(CHECK, f"{says}, and each commit takes longer", "have it nearer")
