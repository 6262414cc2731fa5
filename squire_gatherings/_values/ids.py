"""Ids: what may be the id of a gathering, and fresh ids of incarnations and clients."""

import re
import secrets

from squire_gatherings._values.errors import BadGatheringId

MAX_ID_LENGTH = 128
"""How many characters an id has at most: of a gathering, a client, a message."""

_GATHERING_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}")


def check_gathering_id(text: str) -> str:
    """Return `text` if it can be a gathering's id.

    An id has 1 to 128 of the characters that RFC 3986 calls unreserved, so that it stands in a URL
    as it is. It isn't `.` or `..`, which are steps in a path there (section 5.2.4).

    Raises:
        BadGatheringId: It can't.
    """
    if not isinstance(text, str):
        raise BadGatheringId(f"a gathering id is text, not {type(text).__name__}")
    if text in (".", "..") or _GATHERING_ID.fullmatch(text) is None:
        raise BadGatheringId(
            f"a gathering id is 1 to {MAX_ID_LENGTH} of A-Z a-z 0-9 . _ ~ - (but not . or ..),"
            f" not {text[:140]!r}"
        )
    return text


def new_hall_mark() -> str:
    """Return a fresh random beginning for the incarnation ids of one hall."""
    return secrets.token_hex(4)


def new_incarnation_id(hall_mark: str = "") -> str:
    """Return a fresh random incarnation id: the hall's mark, and 12 hexadecimal digits.

    By the mark a hall knows which incarnations were its own, without a list of them.
    """
    return hall_mark + secrets.token_hex(6)


def new_client_id() -> str:
    """Return a fresh random id for a client that has given none: 128 bits, which nobody guesses."""
    return secrets.token_urlsafe(16)
