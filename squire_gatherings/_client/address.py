"""The address of a server: what a client's URL says, and how a stream to it is opened."""

import errno
import ssl
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import trio
from attrs import frozen
from websockets.uri import WebSocketURI

from squire_gatherings._values.errors import BadSetting

OpenStream = Callable[[], Awaitable[trio.abc.Stream]]
"""Opens a connected stream; raises `OSError`."""

_NO_TLS = ("WRONG_VERSION_NUMBER", "UNEXPECTED_EOF_WHILE_READING", "RECORD_LAYER_FAILURE")
"""How OpenSSL says that something else than TLS came."""


GATHERING = "{gathering}"
"""What stands for a gathering's id in the URL of a server."""


@frozen
class Address:
    """Where a server is, and its gatherings there."""

    host: str
    port: int
    path: str
    query: str
    """Both with `{gathering}` for the id of a gathering."""
    secure: bool

    def __str__(self) -> str:
        # Without the path, which may have in it what nobody but the server should see.
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self.secure else 'ws'}://{host}:{self.port}"

    def uri(self, gathering_id: str) -> WebSocketURI:
        """Return where a gathering is."""
        path, query = (part.replace(GATHERING, gathering_id) for part in (self.path, self.query))
        host = self.host if self.host.isascii() else self.host.encode("idna").decode()
        return WebSocketURI(self.secure, host, self.port, path, query)

    async def open_stream(self, context: ssl.SSLContext | None = None) -> trio.abc.Stream:
        """Connect by TCP, and for wss by TLS over it. Raises `OSError`, also `ssl.SSLError`."""
        try:
            stream = await trio.open_tcp_stream(self.host, self.port)
        except UnicodeError as error:
            raise OSError(errno.EINVAL, f"no name of a host: {error}") from None
        if not self.secure:
            return stream
        secured = trio.SSLStream(
            stream,
            context or ssl.create_default_context(),
            server_hostname=self.host,
            https_compatible=True,
        )
        try:
            await secured.do_handshake()
        except trio.BrokenResourceError as error:
            await trio.aclose_forcefully(stream)
            if isinstance(error.__cause__, ssl.SSLError):
                raise error.__cause__ from None
            raise ConnectionResetError(errno.ECONNRESET, "the TLS handshake broke off") from None
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return secured


def tls_fault(error: ssl.SSLError) -> str:
    """Return what is wrong, for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate isn't trusted ({error.verify_message.rstrip('.')})"
    if error.reason in _NO_TLS:
        return "it doesn't speak TLS there (without it, the URL begins with ws://)"
    return str(error.reason or error.strerror or error).lower().replace("_", " ")


def parse_address(url: str) -> Address:
    """Return what `url` says: `ws://HOST:PORT` or `wss://HOST:PORT`, perhaps with more.

    With `{gathering}` in its path or query, it says where each gathering is. Without, they are
    where our own server has them: at `/gatherings/ID`, below the URL's path if it has one.

    Raises `BadSetting`, without the URL: somebody who puts a password there doesn't want it logged.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadSetting(f"not a URL: {error}") from None
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise BadSetting("the URL of a server is ws://HOST:PORT or wss://HOST:PORT")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise BadSetting("the URL of a server has no user, password or fragment")
    path, query = _place(parts.path, parts.query)
    try:
        # As it's done where it is looked up: an empty label, or one that is too long.
        parts.hostname.encode("idna")
    except UnicodeError:
        raise BadSetting("the host of a server's URL is none") from None
    secure = parts.scheme == "wss"
    if port is None:
        port = 443 if secure else 80
    return Address(parts.hostname, port, path, query, secure)


def _place(path: str, query: str) -> tuple[str, str]:
    """Return path and query of a gathering, with `{gathering}` for its id."""
    both = f"{path}?{query}"
    if not both.isascii() or not both.isprintable() or " " in both:
        raise BadSetting("the path and the query of a server's URL are percent-encoded ASCII")
    if any(brace in both.replace(GATHERING, "") for brace in "{}"):
        raise BadSetting("in the URL of a server, nothing but {gathering} is in braces")
    if GATHERING not in both:
        if query:
            raise BadSetting("the URL of a server has no query, unless it has {gathering}")
        path = f"{path.rstrip('/')}/gatherings/{GATHERING}"
    return path or "/", query
