"""The ops that a load test submits."""

import msgspec


class LoadOp(msgspec.Struct, gc=False):
    """An op that tells where it comes from."""

    n: int
    """Its number in its gathering, from 0 on."""

    a: int
    """The number of the client that is its author."""

    at: float
    """When it was due, by `time.monotonic`."""

    pad: str
    """Makes it as large as was asked for."""


encode_op = msgspec.json.Encoder().encode


def padding(size: int) -> str:
    """Return what makes an op about `size` bytes large, as JSON."""
    empty = encode_op(LoadOp(0, 0, 123456.123456, ""))
    return "x" * max(0, size - len(empty))
