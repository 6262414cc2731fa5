"""The address of a server: what a client's URL says, and how a stream to it is opened."""

import errno
import ssl
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import trio
from attrs import frozen
from websockets.uri import WebSocketURI, parse_uri

from squire_gatherings._values.errors import BadSetting

OpenStream = Callable[[], Awaitable[trio.abc.Stream]]
"""Opens a connected stream; raises `OSError`."""

_NO_TLS = ("WRONG_VERSION_NUMBER", "UNEXPECTED_EOF_WHILE_READING", "RECORD_LAYER_FAILURE")
"""How OpenSSL says that something else than TLS came."""


@frozen
class Address:
    """Where a server is; `path` is what precedes `/gatherings/ID` there, mostly nothing."""

    host: str
    port: int
    path: str
    secure: bool

    @property
    def netloc(self) -> str:
        """Host and port as they stand in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{'wss' if self.secure else 'ws'}://{self.netloc}{self.path}"

    def uri(self, gathering_id: str) -> WebSocketURI:
        """Return where a gathering is."""
        return parse_uri(f"{self}/gatherings/{gathering_id}")

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
    """Return what `url` says: `ws://HOST:PORT` or `wss://HOST:PORT`, perhaps with a path.

    Raises `BadSetting`, without the URL: whoever puts a password there doesn't want it logged.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadSetting(f"not a URL: {error}") from None
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise BadSetting("the URL of a server is ws://HOST:PORT or wss://HOST:PORT")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise BadSetting("the URL of a server has no user, password, query or fragment")
    if not parts.path.isascii() or any(character in parts.path for character in " \r\n\t"):
        raise BadSetting("the path of a server's URL is percent-encoded ASCII")
    try:
        # As it's done where it is looked up: an empty label, or one that is too long.
        parts.hostname.encode("idna")
    except UnicodeError:
        raise BadSetting("the host of a server's URL is none") from None
    secure = parts.scheme == "wss"
    if port is None:
        port = 443 if secure else 80
    return Address(parts.hostname, port, parts.path.rstrip("/"), secure)
