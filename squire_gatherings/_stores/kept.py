"""What is kept as bytes with a digest: lifecycle events and sleepers, as each store has them.

By the digest `verify` sees whether a row was changed.
"""

from hashlib import blake2b

import msgspec

from squire_gatherings._values.events import LifecycleEvent
from squire_gatherings._values.sleep import Slept

_DIGEST_SIZE = 16

_encode_event = msgspec.json.Encoder().encode
_decode_event = msgspec.json.Decoder(LifecycleEvent).decode
_encode_sleeper = msgspec.msgpack.Encoder().encode
_decode_sleeper = msgspec.msgpack.Decoder(Slept).decode


def event_row(event: LifecycleEvent) -> tuple[bytes, bytes]:
    """Return an event as JSON, and the digest of that."""
    encoded = _encode_event(event)
    return encoded, _of_event(encoded)


def read_event(encoded: bytes, digest: bytes) -> LifecycleEvent:
    """Return the event of a row. Raises `ValueError` if it isn't what was written."""
    if _of_event(encoded) != digest:
        raise ValueError("a lifecycle event isn't what was written")
    return _decode_event(encoded)


def sleeper_row(slept: Slept) -> tuple[bytes, bytes]:
    """Return one that sleeps as MessagePack, and the digest of that."""
    encoded = _encode_sleeper(slept)
    return encoded, _of_sleeper(encoded)


def read_sleeper(encoded: bytes, digest: bytes) -> Slept:
    """Return what a row says. Raises `ValueError` if it isn't what was written."""
    if _of_sleeper(encoded) != digest:
        raise ValueError("what is said of a gathering that sleeps isn't what was written")
    return _decode_sleeper(encoded)


def _of_event(encoded: bytes) -> bytes:
    return blake2b(encoded, digest_size=_DIGEST_SIZE, person=b"lifecycle event").digest()


def _of_sleeper(encoded: bytes) -> bytes:
    return blake2b(encoded, digest_size=_DIGEST_SIZE, person=b"sleeper").digest()
