"""What all stores have in common: how large a page is, and which texts can be stored."""

from collections.abc import Iterable

from squire_gatherings._hall.store import READ_LIMIT
from squire_gatherings._values.log import Append, LoggedOp, encoded_size


def page(ops: Iterable[LoggedOp], max_bytes: int) -> tuple[LoggedOp, ...]:
    """Take as many of the first `ops` as one `Store.read` returns.

    That is one op, and as many more as `max_bytes` and `READ_LIMIT` allow.
    """
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


def is_storable(text: str) -> bool:
    """Return whether `text` is valid as UTF-8: a lone surrogate isn't, and is in no store."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_texts(append: Append) -> None:
    """Raise `ValueError` if any text of `append` can't be stored."""
    for sync in append.syncs:
        if not (is_storable(sync.id) and is_storable(sync.scope)):
            raise unstorable(append, "surrogates not allowed")
    for logged in append.ops:
        if logged.by is not None and not is_storable(logged.by):
            raise unstorable(append, "surrogates not allowed")
    if not is_storable(append.gathering):
        raise unstorable(append, "surrogates not allowed")


def unstorable(append: Append, why: object) -> ValueError:
    """Return the error for an append that can never be stored; its text is valid UTF-8."""
    text = f"{append.gathering}: can't be stored: {why}"
    return ValueError(text.encode(errors="backslashreplace").decode())
