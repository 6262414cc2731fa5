"""Claims: what a token whose signature is right says, and whether that lets its bearer in."""

import math
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from squire_gatherings._auth.patterns import MAX_PATTERNS, check_pattern, covers
from squire_gatherings._values.errors import Unauthorized
from squire_gatherings._values.identity import Identity

LATEST = 253_402_300_800
"""The first second of the year 10000. What is later is a mistake, or means never."""

EXPIRED = "the token has expired"
NOT_YET = "the token isn't valid yet"
NOT_FOR_US = "the token is for somebody else (aud)"
NOT_FROM_THEM = "the token is from somebody else (iss)"
NOT_COVERED = "there's no such gathering, or the token isn't good for it"
"""One text for both: a client that isn't let in doesn't learn what there is."""


@frozen
class Rules:
    """What claims are compared with."""

    audience: str | None = None
    issuer: str | None = None
    leeway: float = 10.0
    """How many seconds the issuer's clock and ours may differ."""


@frozen
class Claims:
    """What a token says."""

    user: str
    role: str
    gatherings: tuple[str, ...]
    expires_at: float
    """When it expires, with the leeway, in seconds of the wall clock."""
    not_before: float
    audiences: tuple[str, ...] = field(repr=False)
    issuer: str | None = field(repr=False)

    def identity(self, gathering_id: str, rules: Rules, now: float) -> Identity:
        """Return who the bearer is; raises `Unauthorized` if that doesn't let it in.

        Nothing here looks at whether the gathering is there: that would be answered.
        """
        if now >= self.expires_at:
            raise Unauthorized(EXPIRED)
        if now < self.not_before:
            raise Unauthorized(NOT_YET)
        # A token that says for whom it is is for nobody else (RFC 7519, section 4.1.3).
        if (self.audiences or rules.audience is not None) and rules.audience not in self.audiences:
            raise Unauthorized(NOT_FOR_US)
        if rules.issuer is not None and self.issuer != rules.issuer:
            raise Unauthorized(NOT_FROM_THEM)
        if not covers(self.gatherings, gathering_id):
            raise Unauthorized(NOT_COVERED)
        try:
            return Identity(self.user, self.role, self.expires_at)
        except ValueError:
            raise Unauthorized("the token's sub or role can't be one") from None


def claims_of(said: Mapping[str, Any], leeway: float) -> Claims:
    """Return what a token's payload says.

    Raises:
        Unauthorized: A claim isn't what it must be; the text names it.
    """
    return Claims(
        user=_text(said, "sub"),
        role=_text(said, "role", "member"),
        gatherings=_patterns(said.get("gatherings")),
        expires_at=_time(said, "exp") + leeway,
        not_before=_time(said, "nbf", 0) - leeway,
        audiences=_audiences(said),
        issuer=_text(said, "iss") if "iss" in said else None,
    )


def _wrong(claim: str) -> Unauthorized:
    return Unauthorized(f"the token's {claim} isn't what it must be, or missing")


def _text(said: Mapping[str, Any], claim: str, default: str | None = None) -> str:
    value = said.get(claim, default)
    if not isinstance(value, str) or not value:
        raise _wrong(claim)
    return value


def _time(said: Mapping[str, Any], claim: str, default: int | None = None) -> float:
    value = said.get(claim, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(claim)
    # Before it is made a float, as which a whole number may be too large. NaN is in no range.
    if not 0 <= value < LATEST or not math.isfinite(value):
        raise _wrong(claim)
    return float(value)


def _patterns(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MAX_PATTERNS:
        raise _wrong("gatherings")
    try:
        return tuple(check_pattern(one) for one in value)
    except ValueError:
        raise _wrong("gatherings") from None


def _audiences(said: Mapping[str, Any]) -> tuple[str, ...]:
    value = said.get("aud", [])
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise _wrong("aud")
    if "aud" in said and not value:
        raise _wrong("aud")
    return tuple(value)
