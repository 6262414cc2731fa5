"""The setup of a world: what it begins with, and every hall in it."""

from typing import Literal

from attrs import field, frozen

from squire_gatherings import HallOptions
from tests.system.life import Rules
from tests.system.presence import GRACE

ROOMS = ("a", "b", "c")
"""The gatherings; only the program that has the hall ever uses the last."""

CLOSE_GRACE = 2.0
"""The seconds that a notice may take."""

UNLIMITED: HallOptions = {
    "max_gatherings": None,
    "max_connections_per_gathering": None,
    "max_connections_per_user": None,
    "max_log_ops": None,
    "max_ops": 1000,
    "max_events": 1_000_000,
}
"""The limits of a hall that rules change, as they are when nobody has."""

Way = Literal["streams", "sockets", "tls"]
"""What the server's clients come on: streams, sockets that its poller reads, or TLS that it ends.
"""


@frozen
class Setup:
    """The settings of a world, which last from its beginning to its end."""

    rules: Rules = field(factory=Rules)
    sleep_after: float | None = None
    snapshots: bool = False
    events: bool = False
    """Whether the program is told lifecycle events."""
    way: Way = "streams"
    packed: bool = False
    """Whether every other stranger speaks MessagePack."""
    tail_bytes: int = 10_000
    batch_bytes: int = 10_000
    recent_syncs: int = 256
    crowd: int = 128
    are_there: bool = True
    """Whether all clients are there from the beginning."""

    def usual_settings(self) -> HallOptions:
        """Return the settings with which a hall begins."""
        rules = self.rules
        return {
            "idle_timeout": rules.idle_timeout,
            "empty_timeout": rules.empty_timeout,
            "unjoined_timeout": rules.unjoined_timeout,
            "alone_timeout": rules.alone_timeout,
            "alone_clients": rules.alone_clients,
            "max_age": rules.max_age,
            "warn_before": rules.warn_before,
            "sleep_after": self.sleep_after,
            "tail_bytes": self.tail_bytes,
            "batch_bytes": self.batch_bytes,
            "recent_syncs": self.recent_syncs,
            "snapshot_every": 3,
            "inbox_limit": 4,
            "close_grace": CLOSE_GRACE,
            "presence": True,
            "presence_grace": GRACE,
            **UNLIMITED,
        }
