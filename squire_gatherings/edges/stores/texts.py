"""Texts as stores hold them: UTF-8, which can't say a lone surrogate."""

from squire_gatherings.values.log import Append


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
    texts = [append.gathering]
    texts += [logged.by for logged in append.ops if logged.by is not None]
    for sync in append.syncs:
        texts += (sync.scope, sync.id)
    if not all(map(is_storable, texts)):
        raise unstorable(append, "surrogates not allowed")


def unstorable(append: Append, why: object) -> ValueError:
    """Return the error, itself well-formed text, for an append that can never be stored."""
    text = f"{append.gathering}: can't be stored: {why}"
    return ValueError(text.encode(errors="backslashreplace").decode())
