"""Who a client is, what it may do, and until when."""

import math
from enum import StrEnum

from attrs import evolve, field, frozen

from squire_gatherings._values.text import check_text

MAX_USER_LENGTH = 1024
MAX_ROLE_LENGTH = 64


class Role(StrEnum):
    """The roles that gatherings know by themselves. All others are a program's own.

    A role is the text that it is, so `identity.role == Role.OBSERVER` tells.
    """

    MEMBER = "member"
    """Reads, and submits ops. The default."""

    OBSERVER = "observer"
    """Reads, and submits nothing, whatever the behaviour."""


_MEMBER, _OBSERVER = str(Role.MEMBER), str(Role.OBSERVER)

_LONG_AGO = 0.0


def check_role(role: object) -> str:
    """Return what can be a role, as plain text. Raises `ValueError`."""
    text = check_text(role, "a role", MAX_ROLE_LENGTH)
    return str(text) if isinstance(text, Role) else text


def _instant(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expires_at is a number of seconds or None, not {value!r:.80}")
    try:
        seconds = float(value)
    except OverflowError:
        raise ValueError("expires_at is a time that no clock shows") from None
    if not math.isfinite(seconds):
        raise ValueError("expires_at is a finite number; None is for rights that never end")
    return seconds


@frozen
class Identity:
    """Who a client is, as authentication found: `user` is None for an anonymous one.

    Raises `ValueError` for a value that none of these can have.
    """

    user: str | None = field(default=None)
    """What others see in `by`: text of 1 to 1024 characters that can be encoded."""

    role: str = field(default=_MEMBER, converter=check_role)
    """Any name of 1 to 64 characters, which the behaviour sees (`submission.identity.role`).

    The client is told it, so that its own behaviour judges as the server's does. What a role means
    is the behaviour's business, but for `observer`, which may not submit.
    """

    expires_at: float | None = field(default=None, converter=_instant)
    """When its rights end, in seconds as `time.time()` counts them; None if they never do."""

    @user.validator
    def _check_user(self, _: object, user: object) -> None:
        if user is not None:
            check_text(user, "a user's name", MAX_USER_LENGTH)

    def ended(self) -> "Identity":
        """Return the same without any rights."""
        return evolve(self, expires_at=_LONG_AGO)

    @property
    def has_ended(self) -> bool:
        """Whether it was found to have no rights any more, whatever the clock says since."""
        return self.expires_at == _LONG_AGO

    @property
    def may_submit(self) -> bool:
        """Whether its syncs are judged at all: those of an `observer` aren't."""
        return self.role != _OBSERVER


ANONYMOUS = Identity()
