"""TLS between the relay of a link and the server, which ends it."""

import ssl
from functools import cache

import trio
import trustme

NAME = "server.test"


@cache
def _contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server, client = (
        ssl.SSLContext(one) for one in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT)
    )
    authority.issue_cert(NAME).configure_cert(server)
    authority.configure_trust(client)
    return server, client


def server_context() -> ssl.SSLContext:
    """Return what the server secures its streams with."""
    return _contexts()[0]


def over(stream: trio.SocketStream) -> trio.SSLStream[trio.SocketStream]:
    """Return a client's end over this stream."""
    return trio.SSLStream(stream, _contexts()[1], server_hostname=NAME, https_compatible=True)
