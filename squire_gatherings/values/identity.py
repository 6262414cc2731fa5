"""Who an onlooker is, and what it may do."""

from enum import StrEnum

from attrs import frozen


class Role(StrEnum):
    """What an onlooker may do in a gathering."""

    MEMBER = "member"
    """Reads, and submits ops."""

    OBSERVER = "observer"
    """Reads."""


_MEMBER = Role.MEMBER


@frozen
class Identity:
    """Who an onlooker is, as authentication found: `user` is None for an anonymous one."""

    user: str | None = None
    role: Role = Role.MEMBER

    @property
    def may_submit(self) -> bool:
        """Whether its syncs are taken."""
        return self.role is _MEMBER


ANONYMOUS = Identity()
