"""Errors: everything that a call into a hall, a gathering or a store may raise.

Each class carries the `code` under which the wire protocol reports it.
"""

from typing import ClassVar

from squire_gatherings._values.nodes import Node


class GatheringsError(Exception):
    """The base of every error that this package raises on purpose."""

    code: ClassVar[str] = "internal"


class BadGatheringId(GatheringsError, ValueError):
    """The text can't name a gathering."""

    code = "bad_id"


class BadSetting(GatheringsError, ValueError):
    """A setting has a value that makes no sense."""

    code = "bad_setting"


class BadRequest(GatheringsError, ValueError):
    """A message is malformed, or says something that can't be true."""

    code = "bad_message"


class BadBase(BadRequest):
    """A sync builds on ops that the gathering doesn't have (yet)."""

    code = "bad_base"


class LogReplaced(BadRequest):
    """The gathering's log isn't the one that the client knows: begin again without `since`.

    Ops that it has were lost (an older backup was restored, a store in memory restarted), and
    others may have their seqs.
    """

    code = "log_replaced"


class SyncIdReused(BadRequest):
    """A sync carries the id of an earlier one, but other ops."""

    code = "id_reused"


class TooBig(BadRequest):
    """A message is larger than the server takes, or has more ops."""

    code = "too_big"


class LogFull(GatheringsError):
    """The gathering's log has as many ops, or bytes, as it may have: it takes no more."""

    code = "log_full"


class Full(GatheringsError):
    """A limit on connections, gatherings or memory is reached; the message says which.

    Nothing is wrong with what was asked: try again later.
    """

    code = "full"


class Unauthorized(GatheringsError):
    """The client may not enter this gathering."""

    code = "unauthorized"


class AuthenticationUnavailable(GatheringsError):
    """Nobody can find out now who the client is, or not in time; try again.

    A program's `authenticate` may raise it, too.
    """

    code = "authentication_unavailable"


class Forbidden(GatheringsError):
    """The client is in the gathering, but its role doesn't allow what it asks."""

    code = "forbidden"


class CannotRemember(GatheringsError):
    """The hall remembers as many revocations and roles as it may (`max_remembered`)."""

    code = "cannot_remember"


class OpRejected(GatheringsError):
    """The behaviour refuses the ops of a sync; none of them was applied."""

    code = "rejected"


class OpConflict(GatheringsError):
    """The behaviour can't merge ops whose base is old; none of them was applied."""

    code = "conflict"


class OwnedElsewhere(GatheringsError):
    """Another node has the gathering: ask that one."""

    code = "moved"

    def __init__(self, text: str, node: Node) -> None:
        """Make the error.

        Args:
            text: What is said of it.
            node: Which node has it.
        """
        super().__init__(text, node)
        self.node = node

    def __str__(self) -> str:
        """Return what is said of it."""
        return str(self.args[0])


class TakenAway(GatheringsError):
    """The gathering was taken from this node while it worked on this: ask again."""

    code = "moved"


class DeclaredDead(GatheringsError):
    """This node was silent for too long: the others have taken over what it had."""

    code = "unavailable"


class GatheringDispersed(GatheringsError):
    """The incarnation that was asked has ended; a new join or call gets the next one."""

    code = "dispersed"


class GatheringCrashed(GatheringsError):
    """The gathering failed while it worked on this, and was removed.

    Nothing acknowledged is lost; the next join restores it from the store.
    """

    code = "crashed"


class HallClosed(GatheringsError):
    """The hall is closing or closed, and takes nothing more."""

    code = "hall_closed"


class StoreUnavailable(GatheringsError):
    """The store can't read or write now (locked, full, unreachable); try again."""

    code = "store_unavailable"


class StoreConflict(GatheringsError):
    """The store holds other ops under these seqs: someone else wrote to this gathering."""

    code = "store_conflict"


class BadExport(GatheringsError, ValueError):
    """What should be an exported log isn't one, or not all of it; says where."""

    code = "bad_export"


class LogDeleted(StoreConflict):
    """The log was deleted while its gathering lived: nothing more can be appended to it."""


class StoreUnusable(GatheringsError):
    """The store can't be used as it is: not ours, or written by a newer version."""

    code = "store_unusable"


class CannotConnect(GatheringsError):
    """No server answers at the address, or what answers isn't one of ours."""

    code = "cannot_connect"


class Replaced(GatheringsError):
    """A newer connection of the same client took this one's place."""

    code = "replaced"


class Left(GatheringsError):
    """The gathering was left; it takes nothing more."""

    code = "left"


class Undelivered(GatheringsError):
    """Lifecycle events couldn't be delivered; they are delivered again later."""

    code = "undelivered"

    def __init__(self, text: str, pause: float = 0.0) -> None:
        """Make the error.

        Args:
            text: Why.
            pause: How many seconds must pass before they are delivered again.
        """
        super().__init__(text)
        self.pause = pause
