"""Who may ask: the operator's token, the cookie of a browser, and where a request may come from.

A page that an operator's browser shows can send requests to any address that the browser reaches,
this machine's own included. So a request must name this server as its `Host` by an address, by
`localhost` or by a name that was given to us (a name that somebody else points at us is refused),
and one that comes from a page must come from our own.
"""

import hmac
import ipaddress
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from hashlib import sha256
from urllib.parse import urlsplit

from attrs import define, field

from squire_gatherings._admin.problems import Refusal
from squire_gatherings._values.errors import BadSetting

COOKIE = "squire_admin"

SESSION = 12 * 60 * 60
"""How many seconds a browser stays logged in."""

LEAST, MOST = 32, 1024
"""How many characters a token has."""

MAX_OPERATOR = 64


@define(eq=False)
class Token:
    """The operator's token, from a file."""

    file: str
    is_new: bool = field(init=False, default=False)
    """Whether the file was made here."""
    is_open: bool = field(init=False, default=False)
    """Whether others than the file's owner may read it."""
    _secret: bytes = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.is_new = _make(self.file)
        self.reload()

    def reload(self) -> None:
        """Read the file again. Browsers that are logged in must log in again if it has changed.

        Raises:
            BadSetting: It can't be read, or has no token. The one from before stays then.
        """
        self.read_again()()

    def read_again(self) -> Callable[[], None]:
        """Read the file again, and return what takes over what was read. Raises as `reload`."""
        try:
            with open(self.file, "rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                text = file.read(MOST + 2).strip()
        except OSError as error:
            raise BadSetting(f"can't read the token in {self.file}: {error.strerror}") from None
        if not LEAST <= len(text) <= MOST or not all(0x21 <= one <= 0x7E for one in text):
            raise BadSetting(
                f"{self.file} has no token: that is one word of {LEAST} to {MOST} characters"
            )
        return partial(self._take_over, bool(mode & (stat.S_IRGRP | stat.S_IROTH)), text)

    def _take_over(self, is_open: bool, secret: bytes) -> None:
        self.is_open, self._secret = is_open, secret

    def matches(self, said: str) -> bool:
        """Whether this is the token. Takes as long whatever was said."""
        given, own = sha256(said.encode(errors="replace")), sha256(self._secret)
        return hmac.compare_digest(given.digest(), own.digest())

    def seal(self, expires: int) -> str:
        """Return a cookie's value that is good until then; the token can't be found from it."""
        text = str(expires)
        mac = hmac.new(self._secret, b"squire admin session " + text.encode(), sha256)
        return f"{text}.{mac.hexdigest()}"

    def is_sealed(self, value: str, now: float) -> bool:
        """Whether a cookie's value was made with this token, and is still good."""
        expires = value.partition(".")[0]
        if len(value) > 100 or not (expires.isascii() and expires.isdecimal()):
            return False
        good = hmac.compare_digest(value.encode(errors="replace"), self.seal(int(expires)).encode())
        return good and now < int(expires)


def _make(file: str) -> bool:
    """Make the file (0600) with a new token, unless it is there; return whether it wasn't.

    It appears whole: another server that begins at the same moment reads the same token.
    """
    if os.path.exists(file):
        return False
    folder = os.path.dirname(file) or "."
    try:
        # 0600, whatever the umask.
        descriptor, name = tempfile.mkstemp(prefix=".squire-", dir=folder)
        try:
            with open(descriptor, "w") as new:
                new.write(secrets.token_urlsafe(32) + "\n")
            os.link(name, file)
        finally:
            os.unlink(name)
    except FileExistsError:
        return False
    except OSError as error:
        raise BadSetting(f"can't make the token's file {file}: {error.strerror}") from None
    return True


@define(eq=False)
class Gate:
    """Decides which requests are heard."""

    token: Token
    names: frozenset[str]
    """Names under which the port may be asked for, besides addresses and `localhost`."""
    clock: Callable[[], float]
    """The wall clock."""

    def check_host(self, headers: Mapping[str, str], hosts: int) -> None:
        """Refuse a request for somebody else, or from somebody else's page. Raises `Refusal`."""
        host = headers.get("host", "")
        if hosts != 1 or not self._is_ours(host):
            why = "the Host isn't an address, localhost, or a name that --admin-name gives"
            raise Refusal(421, "wrong_host", why)
        origin = headers.get("origin")
        if origin is not None and not _is_same(origin, host):
            raise Refusal(403, "wrong_origin", "the request comes from another site's page")

    def _is_ours(self, host: str) -> bool:
        with suppress(ValueError):
            parts = urlsplit(f"//{host}")
            name, _ = parts.hostname, parts.port
            if name is None or parts.netloc != host or "@" in host:
                return False
            if name == "localhost" or name in self.names:
                return True
            ipaddress.ip_address(name)
            return True
        return False

    def is_operator(
        self, method: str, headers: Mapping[str, str], cookies: Mapping[str, str]
    ) -> bool:
        """Whether a request brings the token, or a cookie that was made with it."""
        scheme, _, said = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.token.matches(said.strip())
        if method not in ("GET", "HEAD") and "origin" not in headers:
            # A browser names the page that wants to change something.
            return False
        return self.token.is_sealed(cookies.get(COOKIE, ""), self.clock())

    def check_operator(
        self, method: str, headers: Mapping[str, str], cookies: Mapping[str, str]
    ) -> None:
        """Refuse whoever isn't the operator. Raises `Refusal`."""
        if not self.is_operator(method, headers, cookies):
            why = "send the token of --admin-token-file as Authorization: Bearer"
            raise Refusal(401, "unauthorized", why, {"WWW-Authenticate": 'Bearer realm="squire"'})


def _is_same(origin: str, host: str) -> bool:
    """Whether a page's origin is the host that is asked for."""
    scheme, mark, own = origin.partition("://")
    return bool(mark) and scheme in ("http", "https") and own.lower() == host.lower()


def operator_of(headers: Mapping[str, str], peer: str) -> str:
    """Return who an operator is: as they say in `Squire-Operator`, and from where they ask."""
    said = headers.get("squire-operator", "")[:MAX_OPERATOR]
    said = "".join(one for one in said if one.isprintable()).strip()
    return f"{said} ({peer})" if said else peer
