"""Shards: which of a fixed number of stores has a gathering.

Rendezvous hashing (Thaler and Ravishankar, 1998): each shard gets a weight for the gathering, and
the heaviest has it. With one shard more, the gatherings that move all move to that one. Files are
laid out by this rule: it must never change.
"""

from hashlib import blake2b

MOST_SHARDS = 256


def shard_of(gathering: str, shards: int) -> int:
    """Return the number of the shard that has a gathering, from 0 to before `shards`.

    The weight of shard N is the digest of BLAKE2b, of 8 bytes, of `N/GATHERING` in UTF-8, read as a
    big-endian number. Where two are as heavy, the lower number has it.

    Args:
        gathering: The gathering's id.
        shards: How many there are, 1 or more.
    """
    return max(range(shards), key=lambda shard: _weight(shard, gathering))


def _weight(shard: int, gathering: str) -> bytes:
    return blake2b(f"{shard}/{gathering}".encode(), digest_size=8).digest()
