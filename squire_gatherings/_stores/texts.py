"""Texts as stores hold them: UTF-8, which can't say a lone surrogate."""

from squire_gatherings._values.log import Append


def is_storable(text: str) -> bool:
    """Whether `text` can be in a store: what can't was never appended."""
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
    """Return the error, itself well-formed text, for an append that can never be stored."""
    text = f"{append.gathering}: can't be stored: {why}"
    return ValueError(text.encode(errors="backslashreplace").decode())
