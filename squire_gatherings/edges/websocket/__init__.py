"""The WebSocket server."""

from squire_gatherings.edges.websocket.server import Server, serve, serve_stream
from squire_gatherings.edges.websocket.settings import ServerSettings

__all__ = ["Server", "ServerSettings", "serve", "serve_stream"]
