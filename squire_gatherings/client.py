"""The client library: programs that talk to gatherings import it as `squire_gatherings.client`."""

from squire_gatherings.edges.client import Client, ClientSettings, Tournament, open_client
from squire_gatherings.rules.changes import Change
from squire_gatherings.values.errors import LogReplaced
from squire_gatherings.values.messages import Dispersed

__all__ = [
    "Change",
    "Client",
    "ClientSettings",
    "Dispersed",
    "LogReplaced",
    "Tournament",
    "open_client",
]
