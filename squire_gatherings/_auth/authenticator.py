"""The authenticator: lets in clients whose token was signed with one of its keys."""

import logging
import math
import os
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import trio

from squire_gatherings._auth.carriers import find_token
from squire_gatherings._auth.claims import Rules, claims_of
from squire_gatherings._auth.tokens import BadToken, parse_object, parse_token
from squire_gatherings._values.errors import BadSetting, Unauthorized
from squire_gatherings._values.handshake import HandshakeRequest
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.origins import OriginRule, allowed_origins

if TYPE_CHECKING:
    from squire_gatherings._auth.keys import KeyRing

_log = logging.getLogger(__name__)

NEEDED = "a token is needed"
NOT_VALID = "the token isn't valid"
"""One text for all that may be wrong with it: a forger isn't told how far he got."""

EXTRA = {"joserfc", "cryptography", "cffi", "_cffi_backend"}
MISSING = "JWT needs joserfc: pip install 'squire-gatherings[jwt]'"

_COOKIE_NAME = frozenset(
    "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)


class JwtAuthenticator:
    """An `authenticate` that checks signed tokens (JWT, RFC 7519): `open_hall(authenticate=…)`.

    A token is signed by EdDSA, ES256, RS256 or HS256 with one of the keys, and each key is for one
    of these alone. It has `sub` (the user), `exp`, `gatherings` (for which it is good: a list of
    ids, or of their beginnings with a `*` at the end), and may have `role`, `nbf`, `aud` and `iss`.
    It comes in the `join`, in `Authorization: Bearer`, as the subprotocol `squire.token.TOKEN`, or
    in a cookie; see docs/security.md.

    A client that is refused gets `Unauthorized`. A gathering that the token doesn't cover is not
    looked for, so nobody learns whether it is there.
    """

    def __init__(
        self,
        keys: Iterable[str | os.PathLike[str]],
        *,
        audience: str | None = None,
        issuer: str | None = None,
        leeway: float = 10.0,
        cookie: str | None = None,
        allow_origins: Iterable[str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Read the keys, which waits for their files.

        Args:
            keys: Files, each with PEM keys, a JWK, a JWKS or a secret (for HS256).
            audience: What a token's `aud` must have; without it, no token may have an `aud`.
            issuer: What a token's `iss` must be; without it, it may be any.
            leeway: How many seconds the issuer's clock may differ from ours.
            cookie: The name of a cookie that may have the token.
            allow_origins: The web pages from which a cookie counts; by default those of the same
                host (as `ServerSettings.allow_origins`).
            clock: Gives the time, in seconds since 1970.

        Raises:
            BadSetting: A file has no key that can be used, `joserfc` isn't installed, or an
                argument makes no sense.
        """
        if isinstance(keys, str | bytes | os.PathLike):
            raise BadSetting("keys are several files")
        if isinstance(leeway, bool) or not 0 <= leeway < math.inf:
            raise BadSetting(f"leeway must be a number from 0 on, not {leeway!r}")
        if cookie is not None and (not cookie or not _COOKIE_NAME.issuperset(cookie)):
            raise BadSetting(f"{cookie[:40]!r} can't be the name of a cookie")
        self._files = tuple(keys)
        self._rules = Rules(audience, issuer, leeway)
        self._cookie = cookie
        self._origins = OriginRule(allowed_origins(allow_origins))
        self._clock = clock
        self._ring = self._read()

    @property
    def keys(self) -> int:
        """How many keys there are."""
        return len(self._ring.keys)

    def reload(self) -> None:
        """Read the keys again, which waits for their files; safe in any thread.

        Clients that are connected stay connected.

        Raises:
            BadSetting: A file is broken. The keys are those that they were.
        """
        self._ring = self._read()

    async def __call__(
        self, token: str | None, gathering_id: str, request: HandshakeRequest | None = None
    ) -> Identity:
        """Say who a client is. A hall calls it as its `authenticate`.

        Args:
            token: The token in the `join`, if there is one.
            gathering_id: Which gathering the client wants to join.
            request: The request by which the client came; it may carry the token, too.

        Returns:
            The user, its role, and until when the token counts.

        Raises:
            Unauthorized: There is no token, it isn't valid, or it isn't good for this gathering.

        Cancellation: nothing happened.
        """
        await trio.lowlevel.checkpoint()
        found = find_token(token, request, cookie=self._cookie, origins=self._origins)
        if found is None:
            raise Unauthorized(NEEDED)
        try:
            payload = await self._verified(found)
            said = parse_object(payload)
        except BadToken:
            raise Unauthorized(NOT_VALID) from None
        claims = claims_of(said, self._rules.leeway)
        return claims.identity(gathering_id, self._rules, self._clock())

    async def _verified(self, text: str) -> bytes:
        """Check a token's signature; return what the token says. Raises `BadToken`."""
        from squire_gatherings._auth.signatures import is_signed

        token = parse_token(text)
        for number, key in enumerate(self._ring.candidates(token.algorithm, token.kid)):
            if number:
                # Each check takes its time.
                await trio.lowlevel.checkpoint()
            if is_signed(token, key):
                return token.payload
        raise BadToken("no key has signed it")

    def _read(self) -> "KeyRing":
        try:
            from squire_gatherings._auth.keys import read_keys
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in EXTRA:
                raise
            raise BadSetting(MISSING) from None
        read = read_keys(self._files)
        for text in read.warnings:
            _log.warning("a key file isn't safe", extra={"why": text})
        return read.ring
