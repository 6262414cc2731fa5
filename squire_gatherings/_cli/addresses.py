"""Addresses: what the command line takes as the address of a plain WebSocket server."""

from urllib.parse import urlsplit


def plain_address(url: str) -> tuple[str, int] | None:
    """Return host and port of `ws://HOST:PORT`; None for another URL.

    Raises:
        ValueError: It is no URL.
    """
    parts = urlsplit(url)
    host, port = parts.hostname, parts.port
    if parts.scheme != "ws" or host is None or port is None or parts.path.strip("/"):
        return None
    return host, port
