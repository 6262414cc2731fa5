"""Refusals: the close code of a connection whose join failed."""

from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import (
    AuthenticationUnavailable,
    Forbidden,
    Full,
    GatheringCrashed,
    GatheringsError,
    HallClosed,
    LogReplaced,
    OwnedElsewhere,
    Replaced,
    StoreUnavailable,
    TakenAway,
    Unauthorized,
)

_CODES: tuple[tuple[type[GatheringsError], CloseCode], ...] = (
    (Unauthorized, CloseCode.UNAUTHORIZED),
    (Forbidden, CloseCode.UNAUTHORIZED),
    (Replaced, CloseCode.REPLACED),
    (LogReplaced, CloseCode.LOG_REPLACED),
    (HallClosed, CloseCode.GOING_AWAY),
    (OwnedElsewhere, CloseCode.MOVED),
    (TakenAway, CloseCode.MOVED),
    (GatheringCrashed, CloseCode.CRASHED),
    (StoreUnavailable, CloseCode.TRY_AGAIN_LATER),
    (AuthenticationUnavailable, CloseCode.TRY_AGAIN_LATER),
    (Full, CloseCode.TRY_AGAIN_LATER),
)


def close_code_of(error: GatheringsError) -> CloseCode:
    """Return the close code after a join that failed with `error`."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return CloseCode.PROTOCOL_ERROR
