"""Claims: which node has a gathering, and what an earlier one has left of it."""

from attrs import frozen

from squire_gatherings._values.events import OpenIncarnation
from squire_gatherings._values.nodes import Node
from squire_gatherings._values.sleep import Slept


@frozen(kw_only=True)
class Estate:
    """What another node has left of one gathering to the one that owns it now.

    Nobody else goes on with it: the new owner takes it up once, and says so (`OwnerStore.settle`).
    """

    gathering: str
    slept: Slept | None = None
    """The incarnation that sleeps, if one does: it goes on at the new owner."""
    lost: OpenIncarnation | None = None
    """The incarnation that was awake when its node died, where lifecycle events are kept: its end
    is to be told."""


@frozen
class Claim:
    """Who has a gathering."""

    gathering: str
    owner: Node
    epoch: int
    """How many times the gathering was taken, this time included: a fencing token."""
    estate: Estate | None = None
    """What the owner, if that's us, has to take up before it opens the gathering."""
