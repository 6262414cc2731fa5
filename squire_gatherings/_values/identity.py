"""Who a client is, and what it may do."""

from enum import StrEnum

from attrs import field, frozen

from squire_gatherings._values.text import check_text

MAX_USER_LENGTH = 1024


class Role(StrEnum):
    """What a client may do in a gathering."""

    MEMBER = "member"
    """Reads, and submits ops."""

    OBSERVER = "observer"
    """Reads."""


_MEMBER = Role.MEMBER


@frozen
class Identity:
    """Who a client is, as authentication found: `user` is None for an anonymous one.

    A user's name is what others see in `by`: text of 1 to 1024 characters that can be encoded.
    Raises `ValueError` for anything else, and for what is no role.
    """

    user: str | None = field(default=None)
    role: Role = field(default=Role.MEMBER, converter=Role)

    @user.validator
    def _check_user(self, _: object, user: object) -> None:
        if user is not None:
            check_text(user, "a user's name", MAX_USER_LENGTH)

    @property
    def may_submit(self) -> bool:
        """Whether its syncs are taken."""
        return self.role is _MEMBER


ANONYMOUS = Identity()
