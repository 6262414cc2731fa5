"""A sync between its first sending and its answer. Times are of `time.monotonic`."""

from attrs import define


@define
class Pending:
    """A sync that isn't answered yet."""

    ops: tuple[str, ...]
    invoked: float
    """When it was sent first."""
    sent: float
    """When it was sent last."""
    first_here: float
    """When this connection has sent it first."""
    is_refused: bool = False
    """Whether it was told on this connection to send it again: nobody knows which is answered."""
    is_repeated: bool = False
    """Whether an earlier connection has sent it: then others may be told of it before its answer,
    and its client, too."""
