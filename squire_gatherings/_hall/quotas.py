"""Quotas: what all gatherings of a hall may use up together, and how often they were refused it."""

import logging
from collections import OrderedDict
from collections.abc import Hashable

import trio
from attrs import define, field

from squire_gatherings._hall.rounds import Round
from squire_gatherings._hall.tally import Tally
from squire_gatherings._rules.budget import Budget
from squire_gatherings._rules.line_limit import LineLimit
from squire_gatherings._rules.places import Places, is_full
from squire_gatherings._rules.refusals import Limit, Refusals
from squire_gatherings._values.addresses import address_of
from squire_gatherings._values.errors import Full
from squire_gatherings._values.handshake import HandshakeRequest
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.settings import HallSettings

_log = logging.getLogger(__name__)


@define(eq=False)
class Quotas:
    """The quotas of one hall; its ways in use them, too."""

    settings: HallSettings = field(factory=HallSettings)
    refusals: Refusals = field(factory=Refusals)
    lines: LineLimit = field(factory=LineLimit)
    """Of what clients bring about, and the log tells one by one."""
    tally: Tally = field(factory=Tally)
    """What is counted for operators."""
    round: Round = field(factory=Round)
    """In which gatherings have their turns that have been read from by one task."""
    budget: Budget = field(init=False)
    users: Places = field(factory=Places)
    """The connections in gatherings, by user."""
    openers: Places = field(factory=Places)
    """The gatherings that are open, by who opened them."""
    is_leaving: bool = False
    """Whether nobody is heard now, since another process is about to go on with all of them."""
    _unattended: OrderedDict[str, None] = field(factory=OrderedDict)
    """The gatherings to which nobody is connected; the one left first comes first."""

    def __attrs_post_init__(self) -> None:
        self.budget = Budget(self.settings.max_memory, self.settings.max_outbound)

    def change_settings(self, settings: HallSettings) -> None:
        """Change how much there is. What is used up already stays used."""
        self.settings = settings
        self.budget.limit, self.budget.max_outbound = settings.max_memory, settings.max_outbound

    def enforced(self, limit: Limit, why: str, **names: object) -> None:
        """Count that a limit was enforced, and log it if that is due."""
        count = self.refusals.count(limit, trio.current_time())
        if count:
            told = {"limit": limit.value, "why": why, "times": count, **names}
            _log.warning("limit enforced", extra=told)

    def refuse(self, limit: Limit, why: str, **names: object) -> Full:
        """Count a refusal, log it if that is due, and return the error to raise."""
        self.enforced(limit, why, **names)
        return Full(why)

    # Gatherings.

    def check_opening(self, gathering_id: str, opener: Hashable) -> None:
        """Check whether one more gathering may be opened.

        Raises:
            Full: There are too many, or too many of this opener, or there's no memory for it.
        """
        settings, names = self.settings, {"gathering": gathering_id}
        if opener is not None and is_full(
            self.openers.of(opener), settings.max_gatherings_per_user
        ):
            why = f"one user opens at most {settings.max_gatherings_per_user} gatherings"
            raise self.refuse(Limit.GATHERINGS_PER_USER, why, **names)
        if not self.budget.opens_gatherings:
            why = "the server has no memory for one more gathering"
            raise self.refuse(Limit.MEMORY, why, **names)
        if self.is_full() and (settings.when_full == "refuse" or not self._unattended):
            why = f"the server has all the gatherings that it takes: {settings.max_gatherings}"
            raise self.refuse(Limit.GATHERINGS, why, **names)

    def is_full(self) -> bool:
        """Whether all gatherings are open that may be."""
        return is_full(self.openers.total, self.settings.max_gatherings)

    def stalest(self) -> str:
        """Return the gathering to which nobody has been connected for longest: it is to end.

        It is for `when_full="stalest"`, after `check_opening`.
        """
        gathering_id, _ = self._unattended.popitem(last=False)
        why = "a gathering nobody is connected to makes room for another"
        self.enforced(Limit.GATHERINGS, why, gathering=gathering_id)
        return gathering_id

    def opened(self, opener: Hashable) -> None:
        """A gathering is being opened."""
        self.openers.take(opener)
        self.budget.gatherings += 1

    def reaped(self, gathering_id: str, opener: Hashable) -> None:
        """It is gone, or couldn't be opened."""
        self.openers.leave(opener)
        self.budget.gatherings -= 1
        self.attended(gathering_id)

    def unattended(self, gathering_id: str) -> None:
        """Nobody is connected to a gathering (any more), or somebody was here for a moment."""
        if self.settings.when_full == "refuse":
            # It would be a third of what an idle gathering takes besides its task.
            return
        self._unattended[gathering_id] = None
        self._unattended.move_to_end(gathering_id)

    def fell_asleep(self) -> None:
        """A gathering has left its state."""
        self.budget.gatherings -= 1
        self.budget.sleepers += 1

    def woke(self) -> None:
        """One that slept has its state again."""
        self.budget.gatherings += 1
        self.budget.sleepers -= 1

    def attended(self, gathering_id: str) -> None:
        """Somebody is connected to it, or it ends."""
        self._unattended.pop(gathering_id, None)


def opener_of(identity: Identity, request: HandshakeRequest | None = None) -> Hashable:
    """Return the opener that a gathering counts for: a user, or an anonymous client's address."""
    if identity.user is not None:
        return "user", identity.user
    if request is not None and request.peer is not None:
        return "address", address_of(request.peer)
    return None
