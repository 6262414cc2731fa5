"""All targets, by name."""

from tests.fuzz import files, frames, handshake, incoming, journal, peers, proxies, tokens, wire
from tests.fuzz.target import Target

MODULES = (handshake, proxies, frames, wire, journal, files, incoming, tokens, peers)

TARGETS: dict[str, Target] = {one.name: one for module in MODULES for one in module.TARGETS}
