"""All targets, by name."""

from tests.fuzz import files, frames, handshake, incoming, journal, proxies, tokens, wire
from tests.fuzz.target import Target

MODULES = (handshake, proxies, frames, wire, journal, files, incoming, tokens)

TARGETS: dict[str, Target] = {one.name: one for module in MODULES for one in module.TARGETS}
