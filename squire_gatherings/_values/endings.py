"""Endings: why a gathering disperses, why a connection closes, and the codes for both."""

from enum import IntEnum, StrEnum

MAX_REASON = 123
"""How many bytes of a reason a close frame holds (RFC 6455, section 5.5)."""

BROKEN_OFF = 1006
"""Stands for the code of a connection that ended without a close frame (section 7.4.1)."""


class CloseCode(IntEnum):
    """WebSocket close codes: RFC 6455 section 7.4.1 below 4000, ours from there on."""

    LEFT = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_TEXT = 1007
    TOO_BIG = 1009
    CRASHED = 1011
    TRY_AGAIN_LATER = 1013
    DISPERSED = 4001
    UNAUTHORIZED = 4003
    UNRESPONSIVE = 4008
    REPLACED = 4009
    MOVED = 4010
    LOG_REPLACED = 4011
    RATE_LIMIT = 4029


def close_reason(text: str) -> str:
    """Return as much of a text as fits into a close frame."""
    return text.encode()[:MAX_REASON].decode(errors="ignore")


class DispersalReason(StrEnum):
    """Why an incarnation ended."""

    IDLE = "idle"
    EMPTY = "empty"
    UNJOINED = "unjoined"
    ALONE = "alone"
    MAX_AGE = "max_age"
    ENDS_AT = "ends_at"
    CRASHED = "crashed"
    SHUTDOWN = "shutdown"
    ADMIN = "admin"
    MOVED = "moved"
    EVICTED = "evicted"

    @property
    def is_rule(self) -> bool:
        """Whether it is a rule, by which there is an instant of the end."""
        return self in _RULES

    @property
    def close_code(self) -> CloseCode:
        """The code with which a connection is closed for this reason."""
        match self:
            case DispersalReason.CRASHED:
                return CloseCode.CRASHED
            case DispersalReason.SHUTDOWN:
                return CloseCode.GOING_AWAY
            case DispersalReason.MOVED:
                return CloseCode.MOVED
            case _:
                return CloseCode.DISPERSED


_RULES = frozenset(
    {
        DispersalReason.IDLE,
        DispersalReason.EMPTY,
        DispersalReason.UNJOINED,
        DispersalReason.ALONE,
        DispersalReason.MAX_AGE,
        DispersalReason.ENDS_AT,
    }
)
