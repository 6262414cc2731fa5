"""What programs import from `squire_gatherings`."""

from squire_gatherings._auth.authenticator import JwtAuthenticator
from squire_gatherings._cluster.peer_settings import PeerSettings
from squire_gatherings._cluster.peer_tls import PeerTls
from squire_gatherings._cluster.serving import serve_node
from squire_gatherings._collector import calm_the_collector
from squire_gatherings._hall.archive import Archive
from squire_gatherings._hall.authentication import Authenticate
from squire_gatherings._hall.clock import BootTimeClock
from squire_gatherings._hall.connection import Connection
from squire_gatherings._hall.event_delivery import EventSink, OnEvent
from squire_gatherings._hall.event_store import EventStore
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.logs import Logs
from squire_gatherings._hall.membership import Membership
from squire_gatherings._hall.store import Outcome, Store, Unstorable
from squire_gatherings._open_hall import open_hall
from squire_gatherings._rules.acts import ActsByItself, HearsOfItsLife
from squire_gatherings._rules.behaviour import (
    Behaviour,
    EndsByRule,
    LogBehaviour,
    Stamp,
    Submission,
)
from squire_gatherings._rules.chain import head_of
from squire_gatherings._rules.one_by_one import JudgesOneByOne
from squire_gatherings._server import (
    Proxies,
    ProxySays,
    Server,
    ServerSettings,
    serve,
    serve_stream,
)
from squire_gatherings._stores import open_store
from squire_gatherings._values.archive import LogCopy, LogInfo, Tombstone
from squire_gatherings._values.end_rules import EndRuleOptions, EndRules, Explanation, Moved
from squire_gatherings._values.endings import CloseCode, DispersalReason
from squire_gatherings._values.errors import (
    AuthenticationUnavailable,
    BadBase,
    BadExport,
    BadGatheringId,
    BadRequest,
    BadSetting,
    CannotConnect,
    CannotRemember,
    DeclaredDead,
    Forbidden,
    Full,
    GatheringCrashed,
    GatheringDispersed,
    GatheringsError,
    HallClosed,
    Left,
    LogDeleted,
    LogFull,
    LogReplaced,
    OpConflict,
    OpRejected,
    OwnedElsewhere,
    Replaced,
    StoreConflict,
    StoreUnavailable,
    StoreUnusable,
    SyncIdReused,
    TakenAway,
    TooBig,
    Unauthorized,
    Undelivered,
)
from squire_gatherings._values.events import (
    EventKind,
    EventNumbers,
    EventsLeft,
    LifecycleEvent,
    OpenIncarnation,
)
from squire_gatherings._values.handshake import HandshakeRequest
from squire_gatherings._values.identity import ANONYMOUS, Identity, Role
from squire_gatherings._values.log import Append, LoggedOp, Page, Restored, Snapshot, SyncRecord
from squire_gatherings._values.messages import (
    Ack,
    ClientMessage,
    Conflict,
    Dispersed,
    Ending,
    Error,
    Fetch,
    Fetched,
    Forward,
    ForwardBatch,
    Join,
    Joined,
    Leave,
    Presence,
    PresenceUpdate,
    PresentUser,
    Proof,
    Refresh,
    Refreshed,
    Renew,
    ServerMessage,
    Sync,
    Synced,
    SyncRun,
)
from squire_gatherings._values.nodes import Node, NodeState
from squire_gatherings._values.numbers import GatheringNumbers, HallNumbers, ServerNumbers
from squire_gatherings._values.op import Op
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings._values.presence import PresenceView, Present
from squire_gatherings._values.settings import HallOptions, HallSettings
from squire_gatherings._ways_in.asgi import attend_asgi
from squire_gatherings._ways_in.attending import attend_channel
from squire_gatherings._ways_in.channel_connection import Channel, ClientLeft
from squire_gatherings._ways_in.trio_websocket import attend
from squire_gatherings._webhook.webhook import Webhook
from squire_gatherings._wire.codecs import SUBPROTOCOLS

__all__ = [
    "ANONYMOUS",
    "SUBPROTOCOLS",
    "Ack",
    "ActsByItself",
    "Append",
    "Archive",
    "Authenticate",
    "AuthenticationUnavailable",
    "BadBase",
    "BadExport",
    "BadGatheringId",
    "BadRequest",
    "BadSetting",
    "Behaviour",
    "BootTimeClock",
    "CannotConnect",
    "CannotRemember",
    "Channel",
    "ClientLeft",
    "ClientMessage",
    "CloseCode",
    "Conflict",
    "Connection",
    "DeclaredDead",
    "DispersalReason",
    "Dispersed",
    "EndRuleOptions",
    "EndRules",
    "Ending",
    "EndsByRule",
    "Error",
    "EventKind",
    "EventNumbers",
    "EventSink",
    "EventStore",
    "EventsLeft",
    "Explanation",
    "Fetch",
    "Fetched",
    "Forbidden",
    "Forward",
    "ForwardBatch",
    "Full",
    "GatheringCrashed",
    "GatheringDispersed",
    "GatheringNumbers",
    "GatheringsError",
    "Hall",
    "HallClosed",
    "HallNumbers",
    "HallOptions",
    "HallSettings",
    "HandshakeRequest",
    "HearsOfItsLife",
    "Identity",
    "Join",
    "Joined",
    "JudgesOneByOne",
    "JwtAuthenticator",
    "Leave",
    "Left",
    "LifecycleEvent",
    "LogBehaviour",
    "LogCopy",
    "LogDeleted",
    "LogFull",
    "LogInfo",
    "LogReplaced",
    "LoggedOp",
    "Logs",
    "Membership",
    "Moved",
    "Node",
    "NodeState",
    "OnEvent",
    "Op",
    "OpConflict",
    "OpRejected",
    "OpenIncarnation",
    "Outcome",
    "Outgoing",
    "OwnedElsewhere",
    "Page",
    "PeerSettings",
    "PeerTls",
    "Presence",
    "PresenceUpdate",
    "PresenceView",
    "Present",
    "PresentUser",
    "Proof",
    "Proxies",
    "ProxySays",
    "Refresh",
    "Refreshed",
    "Renew",
    "Replaced",
    "Restored",
    "Role",
    "Server",
    "ServerMessage",
    "ServerNumbers",
    "ServerSettings",
    "Snapshot",
    "Stamp",
    "Store",
    "StoreConflict",
    "StoreUnavailable",
    "StoreUnusable",
    "Submission",
    "Sync",
    "SyncIdReused",
    "SyncRecord",
    "SyncRun",
    "Synced",
    "TakenAway",
    "Tombstone",
    "TooBig",
    "Unauthorized",
    "Undelivered",
    "Unstorable",
    "Webhook",
    "attend",
    "attend_asgi",
    "attend_channel",
    "calm_the_collector",
    "head_of",
    "open_hall",
    "open_store",
    "serve",
    "serve_node",
    "serve_stream",
]
