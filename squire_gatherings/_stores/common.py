"""What all stores have in common: how large a page is, and which texts can be stored."""

from collections.abc import Callable, Iterable

from squire_gatherings._hall.store import READ_LIMIT, Unstorable
from squire_gatherings._values.log import Append, LoggedOp, encoded_size

EVENTS_IN_USE = "another hall tells this store's lifecycle events"


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


def links_page(links: Iterable[Append], up_to: int, max_bytes: int) -> tuple[Append, ...]:
    """Take the first of these links, and as many more as `up_to` and `max_bytes` allow."""
    found: list[Append] = []
    size = 0
    for link in links:
        if link.first_seq > up_to:
            break
        size += sum(len(one.json) for one in link.ops)
        size += len(link.snapshot.state) if link.snapshot is not None else 0
        if found and size > max_bytes:
            break
        found.append(link)
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


def has_storable_texts(append: Append) -> bool:
    """Return whether all texts of `append` can be stored."""
    texts = [append.gathering]
    for sync in append.syncs:
        texts += sync.scope, sync.id
    for logged in append.ops:
        if logged.by is not None:
            texts.append(logged.by)
    return is_storable("".join(texts))


def unstorable(append: Append, why: object, fits: Callable[[Append], bool]) -> Unstorable:
    """Return the error for an append that can never be stored.

    Args:
        append: All of it.
        why: What is wrong with it.
        fits: Returns whether an append could be stored; is asked about each sync by itself.
    """
    to_blame: list[tuple[str, str]] = []
    for sync in append.syncs:
        start = max(0, sync.first_seq - append.first_seq)
        ops = append.ops[start : start + sync.count]
        if not fits(Append(append.gathering, sync.first_seq, ops, (sync,))):
            to_blame.append((sync.scope, sync.id))
    text = f"{append.gathering}: can't be stored: {why}"
    # Valid UTF-8, so that it can be logged and sent.
    return Unstorable(text.encode(errors="backslashreplace").decode(), to_blame)
