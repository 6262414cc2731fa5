"""The connection: what a gathering needs in order to send its messages to one client."""

from abc import ABC, abstractmethod

from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.outgoing import Outgoing


class Connection(ABC):
    """One way out to one client. A subclass must have `send` and `close`.

    Nothing here waits but `flush`, so that no client can hold up a gathering. A connection that
    raises an exception, or returns a value of a wrong type, is aborted and leaves the gathering;
    nobody else notices. After `close`, or once the client is gone, `send` does nothing.
    """

    __slots__ = ()

    @abstractmethod
    def send(self, outgoing: Outgoing) -> None:
        """Take a message; send it now if it can go now, or queue it (bounded)."""

    def send_soon(self, outgoing: Outgoing) -> None:
        """Take a message that may wait until this turn's end, and go out with others.

        What `send` takes later doesn't overtake it. By default the same as `send`.
        """
        self.send(outgoing)

    @abstractmethod
    def close(self, code: CloseCode, reason: str) -> None:
        """Close after what was sent; later calls do nothing. Doesn't wait.

        Args:
            code: The close code.
            reason: A few words for people.
        """

    @property
    def backlog(self) -> int:
        """How many bytes of what was sent still wait in this process."""
        return 0

    @property
    def progress(self) -> int:
        """How many bytes have gone out so far. A slow client whose bytes still move is alive."""
        return 0

    @property
    def in_transit(self) -> int:
        """How many bytes of what was sent aren't part of `progress` yet: at least the backlog.

        More than that where the connection knows what waits in the kernel, too.
        """
        return self.backlog

    @property
    def receiving(self) -> int:
        """How many bytes have come of a message whose rest hasn't come yet; 0 if there's none.

        While they grow, a client isn't given up, whose acknowledgement may lie behind that message;
        and where a gathering's end is seen late, it waits a moment for the rest.
        """
        return 0

    def read_arrived(self) -> bool | None:
        """Read what has arrived, as far as that needs no waiting, and deliver it.

        Of very much it takes a part, and returns true: there may be more, for another turn.

        Called before a late timer judges the client, and before a gathering ends as unused.
        """
        return False

    def wasted(self, cost: int) -> None:  # noqa: B027 (not every connection limits its client)
        """Count what the client sent and came to nothing, as so many frames that say nothing.

        These are requests that are wrong, acknowledgements of what was acknowledged, and repeated
        syncs. They cost work, and a client that sends many of them must wait.

        Args:
            cost: How many frames it counts as.
        """

    async def flush(self) -> None:  # noqa: B027 (nothing to do where nothing is queued)
        """Return when the backlog is gone, or when it never will be.

        Cancellation: the backlog stays as it is.
        """

    def abort(self) -> None:  # noqa: B027 (nothing to do where nothing is queued)
        """Drop the backlog and the connection at once."""
