"""A page: as much of a log as one `read` of a store returns."""

from collections.abc import Iterable

from squire_gatherings._hall.store import READ_LIMIT
from squire_gatherings._values.log import LoggedOp, encoded_size


def page(ops: Iterable[LoggedOp], max_bytes: int) -> tuple[LoggedOp, ...]:
    """Take the first of some ops: one, and as many more as `max_bytes` and `READ_LIMIT` allow."""
    found: list[LoggedOp] = []
    size = 0
    for logged in ops:
        size += encoded_size(logged)
        if found and size > max_bytes:
            break
        found.append(logged)
        if len(found) == READ_LIMIT:
            break
    return tuple(found)
