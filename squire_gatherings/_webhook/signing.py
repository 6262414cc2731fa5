"""Signatures as the specification Standard Webhooks 1.0.0 has them: HMAC-SHA256, `v1`.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence

from attrs import frozen

from squire_gatherings._values.errors import BadSetting

PREFIX = "whsec_"
LEAST, MOST = 24, 64
"""How many bytes a secret has."""

SECRETS = 8
"""How many secrets may sign at the same time, while one takes the place of another."""


@frozen(repr=False)
class Signer:
    """Signs messages with each of its secrets: a receiver knows at least one of them."""

    keys: Sequence[bytes]

    @classmethod
    def of(cls, secrets: Iterable[str]) -> "Signer":
        """Return the signer that has these secrets.

        Raises:
            BadSetting: One can't be a secret, or there is none. Nothing of it is repeated.
        """
        keys = [_key(secret) for secret in secrets]
        if not 1 <= len(keys) <= SECRETS:
            raise BadSetting(f"a webhook has 1 to {SECRETS} secrets, not {len(keys)}")
        return cls(tuple(keys))

    def headers(self, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """Return the headers that prove a message.

        Args:
            message_id: The same, however often it is sent; has no full stop.
            timestamp: When this attempt is made, in seconds since 1970.
            body: What is sent, to the byte.
        """
        signed = f"{message_id}.{timestamp}.".encode() + body
        made = (hmac.digest(key, signed, "sha256") for key in self.keys)
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(f"v1,{b64encode(one).decode()}" for one in made),
        }


def _key(secret: str) -> bytes:
    wanted = f"{PREFIX} and {LEAST} to {MOST} bytes in base64"
    if not isinstance(secret, str) or not secret.startswith(PREFIX):
        raise BadSetting(f"a webhook's secret is {wanted}")
    try:
        key = b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise BadSetting(f"a webhook's secret is {wanted}: this is no base64") from None
    if not LEAST <= len(key) <= MOST:
        raise BadSetting(f"a webhook's secret is {wanted}: this has {len(key)} bytes")
    return key
