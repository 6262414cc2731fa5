"""Live rooms that end on time: gatherings on Trio, reached over WebSockets."""

from squire_gatherings.actors.connection import Connection
from squire_gatherings.actors.hall import Hall
from squire_gatherings.actors.membership import Membership
from squire_gatherings.actors.store import Store
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
    Forbidden,
    GatheringCrashed,
    GatheringDispersed,
    GatheringsError,
    HallClosed,
    LogReplaced,
    OpConflict,
    OpRejected,
    StoreConflict,
    StoreUnavailable,
    StoreUnusable,
    SyncIdReused,
    Unauthorized,
)
from squire_gatherings.values.identity import Identity, Role
from squire_gatherings.values.numbers import GatheringNumbers, HallNumbers
from squire_gatherings.values.op import Op
from squire_gatherings.values.outgoing import Outgoing
from squire_gatherings.values.settings import HallSettings

__all__ = [
    "BadBase",
    "BadGatheringId",
    "BadRequest",
    "BadSetting",
    "Behaviour",
    "BootTimeClock",
    "Channel",
    "CloseCode",
    "Connection",
    "DispersalReason",
    "Forbidden",
    "GatheringCrashed",
    "GatheringDispersed",
    "GatheringNumbers",
    "GatheringsError",
    "Hall",
    "HallClosed",
    "HallNumbers",
    "HallSettings",
    "Identity",
    "LogBehaviour",
    "LogReplaced",
    "Membership",
    "Op",
    "OpConflict",
    "OpRejected",
    "Outgoing",
    "Role",
    "Server",
    "ServerSettings",
    "Store",
    "StoreConflict",
    "StoreUnavailable",
    "StoreUnusable",
    "Submission",
    "SyncIdReused",
    "Unauthorized",
    "attend",
    "attend_channel",
    "open_hall",
    "open_store",
    "serve",
    "serve_stream",
]
