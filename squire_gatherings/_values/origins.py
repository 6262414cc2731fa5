"""Origins: the web pages from which a browser may come, as its `Origin` header says.

A browser sends the requests of any page with the cookies of the server that they go to, and asks
nobody before it opens a WebSocket. So a server that knows people by a cookie, or
because they can reach it at all, has to look where the page is from. Programs that aren't browsers
send no `Origin`, and could send any: for them this is no defence and no hindrance.
"""

import ipaddress
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

from squire_gatherings._values.errors import BadSetting

ANY_ORIGIN = "*"
NO_ORIGIN = "null"
"""What a browser says for a page that is from nowhere: a file, a sandboxed frame."""

NOT_ALLOWED = "this origin isn't allowed here: the server's --allow-origin names those that are"

_PORTS = {"http": 80, "https": 443}


def allowed_origins(origins: Any) -> tuple[str, ...] | None:
    """Return origins as they are compared; None for none, which is the default rule.

    Each is `SCHEME://HOST` or `SCHEME://HOST:PORT`, `null`, or `*` for all. Raises `BadSetting`.
    """
    if origins is None:
        return None
    if isinstance(origins, str) or not isinstance(origins, Iterable):
        raise BadSetting("allow_origins are several origins, or None")
    return tuple(_checked(origin) for origin in origins)


def _checked(origin: object) -> str:
    if origin in (ANY_ORIGIN, NO_ORIGIN):
        return str(origin)
    try:
        if not isinstance(origin, str) or not origin.isascii() or not origin.isprintable():
            raise ValueError
        parts = urlsplit(origin)
        if not parts.scheme or not parts.hostname or origin.count("/") != 2:
            raise ValueError
        if set(origin) & set(" ?#@*%\\"):
            raise ValueError
        return _said(parts.scheme, parts.hostname, parts.port)
    except ValueError:
        raise BadSetting(
            f"an origin is SCHEME://HOST or SCHEME://HOST:PORT, null or *, not {str(origin)[:80]!r}"
        ) from None


def _said(scheme: str, host: str, port: int | None) -> str:
    """Return an origin as browsers say it: without the port that its scheme has anyway.

    Raises `ValueError` for brackets without an IPv6 address in them.
    """
    if ":" in host:
        # Browsers have one way to write each.
        host = f"[{ipaddress.IPv6Address(host).compressed}]"
    return f"{scheme}://{host}" + (f":{port}" if port not in (None, _PORTS.get(scheme)) else "")


def is_loopback(host: str) -> bool:
    """Whether a name or an address is one of this machine's own, and no other machine's."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


@frozen
class OriginRule:
    """Who may come to one address of a server."""

    allowed: tuple[str, ...] | None = None
    """The origins that may; None for that of the server itself: the request's `Host`."""

    loopback: bool = False
    """Whether only this machine reaches that address. By default no other origin may come there
    then: a name that somebody points at 127.0.0.1 would be the `Host` and the `Origin` as well."""

    def allows(self, headers: Iterable[tuple[str, str]]) -> bool:
        """Whether a request with these headers may come in."""
        origins, hosts = [], []
        for name, value in headers:
            if len(name) == 6 and name.lower() == "origin":
                origins.append(value)
            elif len(name) == 4 and name.lower() == "host":
                hosts.append(value)
        if not origins:
            return True
        if len(origins) > 1:
            return False
        try:
            origin = _checked(origins[0])
        except BadSetting:
            return False
        if self.allowed is not None:
            return ANY_ORIGIN in self.allowed or (origin in self.allowed and origin != ANY_ORIGIN)
        return len(hosts) == 1 and self._is_own(origin, hosts[0])

    def _is_own(self, origin: str, host: str) -> bool:
        scheme, _, own = origin.partition("://")
        if scheme not in _PORTS:
            return False
        try:
            # The scheme of the request isn't known: a proxy may have ended its TLS.
            asked = _checked(f"{scheme}://{host}")
            name = urlsplit(asked).hostname or ""
        except BadSetting:
            return False
        return asked.partition("://")[2] == own and (not self.loopback or is_loopback(name))
