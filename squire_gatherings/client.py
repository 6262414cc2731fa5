"""The client library: programs that talk to gatherings import it as `squire_gatherings.client`."""

from squire_gatherings._client.address import OpenStream
from squire_gatherings._client.client import Client, open_client
from squire_gatherings._client.credentials import Headers, Token, TokenReason
from squire_gatherings._client.endings import EndingSoon
from squire_gatherings._client.gathering import Gathering
from squire_gatherings._client.settings import ClientOptions, ClientSettings
from squire_gatherings._rules.behaviour import Behaviour, LogBehaviour
from squire_gatherings._rules.change_queue import Change
from squire_gatherings._values.errors import (
    BadBase,
    BadGatheringId,
    BadSetting,
    CannotConnect,
    Forbidden,
    GatheringsError,
    Left,
    LogReplaced,
    OpConflict,
    OpRejected,
    Replaced,
    SyncIdReused,
    TooBig,
    Unauthorized,
)
from squire_gatherings._values.log import Page
from squire_gatherings._values.messages import Dispersed, SyncRun
from squire_gatherings._values.presence import PresenceView, Present

__all__ = [
    "BadBase",
    "BadGatheringId",
    "BadSetting",
    "Behaviour",
    "CannotConnect",
    "Change",
    "Client",
    "ClientOptions",
    "ClientSettings",
    "Dispersed",
    "EndingSoon",
    "Forbidden",
    "Gathering",
    "GatheringsError",
    "Headers",
    "Left",
    "LogBehaviour",
    "LogReplaced",
    "OpConflict",
    "OpRejected",
    "OpenStream",
    "Page",
    "PresenceView",
    "Present",
    "Replaced",
    "SyncIdReused",
    "SyncRun",
    "Token",
    "TokenReason",
    "TooBig",
    "Unauthorized",
    "open_client",
]
