"""The proof: two nodes show each other that they know the cluster's secret, and never say it.

It comes before anything else on a connection. Both say a fresh nonce and who they are. Each then
says a MAC over both nonces, both names and its own part, which nobody can make without the secret,
and which is good for nothing on another connection, for another node, or for the other part. The
node that is asked proves itself first.
"""

import hmac
import os
from hashlib import sha256

from attrs import define, field

MAGIC = b"squire-peer-1\n"
NONCE = 32
MAC = 32
MOST_ID = 255
"""How many bytes the id of a node may have."""

ASKS, ANSWERS = b"asks", b"answers"


class NotProven(Exception):
    """The other side doesn't know the secret, isn't the node it should be, or says nonsense."""


def _mac(secret: bytes, part: bytes, asks: bytes, answers: bytes) -> bytes:
    return hmac.digest(secret, b"\n".join((MAGIC + part, asks, answers)), sha256)


def _hello(node_id: str) -> bytes:
    name = node_id.encode()
    if not 0 < len(name) <= MOST_ID:
        raise ValueError("a node's id has 1 to 255 bytes")
    return MAGIC + os.urandom(NONCE) + bytes([len(name)]) + name


@define(eq=False)
class Proof:
    """One side of it. What it returns is to be sent; what has come is given to it."""

    _secret: bytes = field(repr=False)
    _own: str
    """Our node's id."""
    _expected: str | None = None
    """The id of the node that must be at the other end; None on the side that is asked."""
    peer: str = ""
    """The id of the node at the other end, once it is proven."""
    is_done: bool = False
    """Whether both have proven what they had to."""
    _said: bytes = b""
    _heard: bytes = b""
    """The hello of the other side."""
    _received: bytearray = field(factory=bytearray)

    def begin(self) -> bytes:
        """Return what the side that asks says first. Called on that side, once."""
        self._said = _hello(self._own)
        return self._said

    def take(self, data: bytes) -> bytes:
        """Take what has come; return what is to be sent.

        Raises:
            NotProven: It isn't what somebody says who knows the secret.
        """
        self._received += data
        out = b""
        if not self._heard:
            hello = self._take_hello()
            if hello is None:
                return out
            self._heard = hello
            if self._expected is None:
                self._said = _hello(self._own)
                out += self._said + _mac(self._secret, ANSWERS, hello, self._said)
            elif self.peer != self._expected:
                raise NotProven(f"it is another node: {self.peer!r}")
        if len(self._received) < MAC:
            return out
        mac = bytes(self._received[:MAC])
        del self._received[:MAC]
        if self._expected is None:
            right = _mac(self._secret, ASKS, self._heard, self._said)
        else:
            right = _mac(self._secret, ANSWERS, self._said, self._heard)
            out += _mac(self._secret, ASKS, self._said, self._heard)
        if not hmac.compare_digest(mac, right):
            raise NotProven("it doesn't know the secret")
        self.is_done = True
        return out

    @property
    def rest(self) -> bytes:
        """What came after the proof."""
        return bytes(self._received)

    def _take_hello(self) -> bytes | None:
        received = self._received
        if not MAGIC.startswith(bytes(received[: len(MAGIC)])):
            raise NotProven("it isn't a node of ours")
        head = len(MAGIC) + NONCE + 1
        if len(received) < head or len(received) < head + received[head - 1]:
            return None
        hello = bytes(received[: head + received[head - 1]])
        del received[: len(hello)]
        try:
            self.peer = hello[head:].decode()
        except UnicodeDecodeError:
            raise NotProven("it isn't a node of ours") from None
        if not self.peer:
            raise NotProven("it isn't a node of ours")
        return hello
