"""Settings of the WebSocket server. Times are in seconds, sizes in bytes."""

import attrs
from attrs import field, frozen

from squire_gatherings._server.proxies import Proxies
from squire_gatherings._values.origins import allowed_origins
from squire_gatherings._values.settings import count, count_or_off, not_negative, positive


@frozen(kw_only=True)
class ServerSettings:
    """Limits of every connection, with the server's defaults. Times are in seconds."""

    max_message_size: int = field(default=256 * 1024, validator=count)
    """How many bytes a message of a client may have; a larger one closes with 1009."""

    max_backlog: int = field(default=1024 * 1024, validator=count)
    """How many bytes may wait for a slow reader before it is closed with 4008."""

    handshake_timeout: float = field(default=10.0, validator=positive)
    """How many seconds the HTTP request may take."""

    join_timeout: float = field(default=10.0, validator=positive)
    """How many seconds a client may take until its `join`."""

    close_timeout: float = field(default=5.0, validator=not_negative)
    """How many seconds to wait for the client's close frame after ours."""

    ping_interval: float = field(default=20.0, validator=positive)
    """After so many seconds of silence in either direction a client is pinged, or a quarter later.

    It's dropped when nothing comes from it for as long again, unless what it is sent still moves.
    """

    rate_limit: float | None = field(default=None, validator=attrs.validators.optional(positive))
    """How many messages a second a client may send on average; None for no limit.

    All connections of a user share it, and those of anonymous clients from one address. A client
    that is sent away (4029) and comes back at once is as limited as before.
    """

    rate_burst: int = field(default=100, validator=count)
    """How many messages it may send at once, where there is a limit."""

    rate_bytes: float | None = field(default=None, validator=attrs.validators.optional(positive))
    """How many bytes of messages a second, in the same way; what may come in two seconds may come
    at once. A larger message may, too, where nothing was used up; others wait longer then."""

    rate_ops: float | None = field(default=None, validator=attrs.validators.optional(positive))
    """How many ops a second, in the same way."""

    max_connections: int | None = field(default=100_000, validator=count_or_off)
    """How many clients at once, over all ways into the hall; more get HTTP 503. None: no limit.

    Who hasn't said `join` yet takes no client's place.
    """

    max_connections_per_address: int | None = field(default=10_000, validator=count_or_off)
    """How many of them from one address (of IPv6: from one /64)."""

    max_handshakes: int | None = field(default=4000, validator=count_or_off)
    """How many connections may be open that haven't said `join` yet.

    Where one more comes, the one that was silent longest gives way, of the most crowded address.
    """

    max_handshakes_per_address: int | None = field(default=1000, validator=count_or_off)
    """How many of them from one address. Of several, the one that was silent longest gives way."""

    proxies: Proxies = field(factory=Proxies, validator=attrs.validators.instance_of(Proxies))
    """The reverse proxies that are believed when they say whose connection they pass on."""

    allow_origins: tuple[str, ...] | None = field(default=None, converter=allowed_origins)
    """The web pages from which a browser may come, as its `Origin` says; others get HTTP 403.

    `https://example.com`, or `*` for any. None for the server itself, as `Host` names it, and on a
    loopback address only if that is this machine. A client that sends no `Origin` is no browser,
    and may come.
    """
