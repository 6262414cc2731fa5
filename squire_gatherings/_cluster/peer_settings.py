"""Where a node is reached: by the nodes of other machines, and by clients that choose it."""

from attrs import frozen

from squire_gatherings._client.address import parse_address
from squire_gatherings._cluster.peer_tls import PeerTls
from squire_gatherings._values.errors import BadSetting

ANY = ("0.0.0.0", "::", "")
LAST_PORT = 65535


@frozen(kw_only=True)
class PeerSettings:
    """Where a node is reached. Nodes of its machine find it without any of this."""

    host: str = ""
    """The address or name at which nodes of other machines reach this one, to relay clients."""

    port: int | None = None
    """The port for that; 0 picks one that is free, None is for none."""

    url: str = ""
    """Where clients reach this node and no other, `wss://…`: those that follow are sent there."""

    tls: PeerTls | None = None
    """Secures what nodes of several machines say to each other."""

    def __attrs_post_init__(self) -> None:
        """Check them. Raises `BadSetting`."""
        if self.port is not None:
            if not 0 <= self.port <= LAST_PORT:
                raise BadSetting(f"port: from 0 to {LAST_PORT}, not {self.port}")
            if self.host in ANY:
                raise BadSetting("host: what other nodes reach, not all addresses at once")
        elif self.host or self.tls is not None:
            raise BadSetting("port: it goes with host and tls")
        if self.url:
            parse_address(self.url)
