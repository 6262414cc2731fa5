"""Extras: what a client is told of ops besides them and who submitted them, if it asks for it."""

from attrs import frozen


@frozen(eq=False)
class Extras:
    """What one client asked for. Those who asked for the same have the same object."""

    times: bool
    """When ops were committed."""
    syncs: bool
    """Which syncs they came from."""


_ALL = {(times, syncs): Extras(times, syncs) for times in (False, True) for syncs in (False, True)}

PLAIN = _ALL[False, False]
"""For those who ask for nothing."""


def extras(*, times: bool, syncs: bool) -> Extras:
    """Return the one object that stands for this."""
    return _ALL[bool(times), bool(syncs)]
