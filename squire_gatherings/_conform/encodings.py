"""The two encodings of the protocol, from bytes to plain values and back."""

from collections.abc import Callable
from typing import Any

import msgspec
from attrs import frozen


@frozen
class Encoding:
    """One encoding: how it is asked for, and how a message becomes a frame's payload."""

    name: str
    is_text: bool
    encode: Callable[[Any], bytes]
    _decode: Callable[[bytes], Any]

    @property
    def subprotocol(self) -> str:
        """The WebSocket subprotocol that stands for it."""
        return f"squire.v1+{self.name}"

    def decode(self, data: bytes) -> Any:
        """Return the value that `data` is. Raises `ValueError`."""
        try:
            return self._decode(data)
        except (msgspec.MsgspecError, RecursionError, TypeError) as error:
            raise ValueError(str(error)[:200]) from None


JSON = Encoding("json", True, msgspec.json.encode, msgspec.json.decode)
MSGPACK = Encoding("msgpack", False, msgspec.msgpack.encode, msgspec.msgpack.decode)
ENCODINGS = {one.name: one for one in (JSON, MSGPACK)}
