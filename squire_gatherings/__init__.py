"""Live rooms that end on time: gatherings on Trio, reached over WebSockets."""

from squire_gatherings.actors.connection import Connection
from squire_gatherings.actors.hall import Authenticate, Hall
from squire_gatherings.actors.membership import Membership
from squire_gatherings.actors.store import Outcome, Store
from squire_gatherings.edges.clock import BootTimeClock
from squire_gatherings.edges.stores import open_store
from squire_gatherings.edges.ways_in import Channel, attend, attend_channel
from squire_gatherings.edges.websocket import Server, ServerSettings, serve, serve_stream
from squire_gatherings.embedding import open_hall
from squire_gatherings.rules.behaviour import Behaviour, LogBehaviour, Submission
from squire_gatherings.values.endings import CloseCode, DispersalReason
from squire_gatherings.values.errors import (
    BadBase,
    BadGatheringId,
    BadRequest,
    BadSetting,
    CannotConnect,
    Forbidden,
    GatheringCrashed,
    GatheringDispersed,
    GatheringsError,
    HallClosed,
    Left,
    LogReplaced,
    OpConflict,
    OpRejected,
    Replaced,
    StoreConflict,
    StoreUnavailable,
    StoreUnusable,
    SyncIdReused,
    TooBig,
    Unauthorized,
)
from squire_gatherings.values.identity import ANONYMOUS, Identity, Role
from squire_gatherings.values.log import Append, LoggedOp, Restored, Snapshot, SyncRecord
from squire_gatherings.values.messages import (
    Ack,
    ClientMessage,
    Conflict,
    Dispersed,
    Error,
    Fetch,
    Fetched,
    Forward,
    ForwardBatch,
    Join,
    Joined,
    Leave,
    ServerMessage,
    Sync,
    Synced,
)
from squire_gatherings.values.numbers import GatheringNumbers, HallNumbers
from squire_gatherings.values.op import Op
from squire_gatherings.values.outgoing import Outgoing
from squire_gatherings.values.settings import HallOptions, HallSettings

__all__ = [
    "ANONYMOUS",
    "Ack",
    "Append",
    "Authenticate",
    "BadBase",
    "BadGatheringId",
    "BadRequest",
    "BadSetting",
    "Behaviour",
    "BootTimeClock",
    "CannotConnect",
    "Channel",
    "ClientMessage",
    "CloseCode",
    "Conflict",
    "Connection",
    "DispersalReason",
    "Dispersed",
    "Error",
    "Fetch",
    "Fetched",
    "Forbidden",
    "Forward",
    "ForwardBatch",
    "GatheringCrashed",
    "GatheringDispersed",
    "GatheringNumbers",
    "GatheringsError",
    "Hall",
    "HallClosed",
    "HallNumbers",
    "HallOptions",
    "HallSettings",
    "Identity",
    "Join",
    "Joined",
    "Leave",
    "Left",
    "LogBehaviour",
    "LogReplaced",
    "LoggedOp",
    "Membership",
    "Op",
    "OpConflict",
    "OpRejected",
    "Outcome",
    "Outgoing",
    "Replaced",
    "Restored",
    "Role",
    "Server",
    "ServerMessage",
    "ServerSettings",
    "Snapshot",
    "Store",
    "StoreConflict",
    "StoreUnavailable",
    "StoreUnusable",
    "Submission",
    "Sync",
    "SyncIdReused",
    "SyncRecord",
    "Synced",
    "TooBig",
    "Unauthorized",
    "attend",
    "attend_channel",
    "open_hall",
    "open_store",
    "serve",
    "serve_stream",
]
