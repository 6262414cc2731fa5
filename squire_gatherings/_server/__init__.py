"""The WebSocket server."""

from squire_gatherings._server.accepting import serve
from squire_gatherings._server.attending import serve_stream
from squire_gatherings._server.proxies import Proxies, ProxySays
from squire_gatherings._server.server import Server
from squire_gatherings._server.settings import ServerSettings

__all__ = ["Proxies", "ProxySays", "Server", "ServerSettings", "serve", "serve_stream"]
