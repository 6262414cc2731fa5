"""Who comes in: names and roles, in signed tokens that last for a night.

Anybody signs in as a player or to watch. Judges know a code. The tokens are the library's own
(`JwtAuthenticator`), so each way into the hall checks them the same.
"""

import os
import secrets
import time
from collections.abc import Collection
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import OctKey

from squire_gatherings import JwtAuthenticator

ROLES = ("judge", "player", "observer")
VALID = 18 * 60 * 60.0


class WrongCode(Exception):
    """That isn't the judges' code."""


class Door:
    """Gives tokens to those who may have them."""

    def __init__(self, key_file: Path, judge_code: str, gatherings: Collection[str]) -> None:
        """Let people into these gatherings. The key that signs is made if it isn't there."""
        if not key_file.exists():
            descriptor = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w") as file:
                file.write(secrets.token_hex(32))
        self._key = OctKey.import_key(key_file.read_text().strip())
        self._code = judge_code
        self.gatherings = frozenset(gatherings)
        self.authenticate = JwtAuthenticator([key_file])

    def knows(self, code: str) -> bool:
        """Return whether this is the judges' code."""
        return secrets.compare_digest(code.encode(), self._code.encode())

    def token(self, name: str, role: str, gathering: str) -> str:
        """Return a token for somebody. Whoever calls this has looked who it is."""
        claims = {
            "sub": name,
            "role": role,
            "gatherings": [gathering],
            "exp": int(time.time() + VALID),
        }
        return jwt.encode({"alg": "HS256"}, claims, self._key)
