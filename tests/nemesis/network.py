"""Networks of their own for the nodes, so that each is a machine to the others.

A node has a network namespace (Linux), with an address on a bridge that all share, and so it sees
other files, too: nodes relay clients to each other, and don't pass on sockets. Between two of them
packets can be lost in silence. That takes root.
"""

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from attrs import define, field


@define(eq=False)
class Network:
    """A bridge, and the nodes' namespaces."""

    number: int
    names: list[str] = field(factory=list)

    @property
    def address(self) -> str:
        """The address of this side: of clients, and of the proxies to the database."""
        return f"10.231.{self.number}.1"

    def address_of(self, name: str) -> str:
        """Return the address of a node."""
        return f"10.231.{self.number}.{10 + self.names.index(name)}"

    def command(self, name: str) -> list[str]:
        """Return what starts a program at a node's place."""
        return ["ip", "netns", "exec", self._space(name)]

    def cut(self, name: str) -> None:
        """Lose all packets between one node and the others."""
        self._routes(name, "add")

    def join(self, name: str) -> None:
        """Lose no more."""
        self._routes(name, "del")

    def open(self) -> None:
        """Make the bridge."""
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("addr", "add", f"{self.address}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")

    def add(self, name: str) -> None:
        """Make the namespace of a node."""
        self.names.append(name)
        space, near, far = self._space(name), f"{self._bridge}n{len(self.names)}", "eth0"
        _ip("netns", "add", space)
        _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", space)
        _ip("link", "set", near, "master", self._bridge, "up")
        _ip("-n", space, "addr", "add", f"{self.address_of(name)}/24", "dev", far)
        _ip("-n", space, "link", "set", far, "up")
        _ip("-n", space, "link", "set", "lo", "up")

    def close(self) -> None:
        """Take all of it away."""
        for name in self.names:
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", self._space(name))
        with suppress(subprocess.CalledProcessError):
            _ip("link", "delete", self._bridge)

    @property
    def _bridge(self) -> str:
        return f"nemesis{self.number}"

    def _space(self, name: str) -> str:
        return f"nemesis-{self.number}-{name}"

    def _routes(self, name: str, what: str) -> None:
        for other in self.names:
            if other != name:
                route = f"{self.address_of(other)}/32"
                _ip("-n", self._space(name), "route", what, "blackhole", route)


def is_possible() -> bool:
    """Whether this machine lets us make networks."""
    return hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("ip") is not None


@contextmanager
def network() -> Iterator[Network]:
    """Have a network as long as the block lasts."""
    made = Network(random.SystemRandom().randrange(1, 255))
    try:
        made.open()
        yield made
    finally:
        made.close()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
