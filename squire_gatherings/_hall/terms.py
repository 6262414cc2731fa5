"""Terms: which rights end, when, and what is done then. Rights that don't end cost nothing.

Rights end at an instant of the wall clock. A task looks at it when something is due, and now and
then besides, since it may be set; a gathering looks before it brings anybody an op, and when it
judges a message, so that no rights outlast a clock that was set or a machine that slept.
"""

import heapq
import math
from collections.abc import Callable
from enum import IntEnum

import trio
from attrs import define, field
from msgspec import UNSET, UnsetType

from squire_gatherings._hall.clients import Client, Sender
from squire_gatherings._hall.instants import Instants
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.messages import Refreshed, Renew
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings._values.settings import HallSettings

LOOK_AGAIN = 30.0
"""The wall clock is looked at again after so many seconds at most: it may have been set."""

PUT_OFF = 1.0
"""How many seconds an end is put off while the client's new token is being checked."""

OF_A_TERM = 10
"""A client is asked to renew its rights when one of so many parts of their time is left."""


class _Due(IntEnum):
    RENEWAL = 0
    END = 1
    CLOSE = 2


@define(eq=False)
class _Term:
    """What comes next for one client. Without the client, nothing does."""

    client: Client | None
    next: _Due
    ends_at: float
    """When its rights end, by the wall clock."""
    patience: float
    """How many more seconds its closing may be put off."""


@define(eq=False)
class Terms:
    """The rights of one hall's clients that end."""

    settings: HallSettings
    wall: Callable[[], float]
    """The wall clock."""
    nursery: trio.Nursery
    instants: Instants = field(init=False)
    """The gatherings whose end depends on the wall clock, too."""
    due: float = math.inf
    """When something is due next, by the wall clock."""
    _terms: dict[Client, _Term] = field(factory=dict)
    _heap: list[tuple[float, int, _Term]] = field(factory=list)
    _pushed: int = 0
    _is_running: bool = False
    _scope: trio.CancelScope | None = None
    """Around the task's sleep."""

    def __attrs_post_init__(self) -> None:
        self.instants = Instants(self.wall, self.nursery)

    def __len__(self) -> int:
        """Return how many clients have something due."""
        return len(self._terms)

    # Who is there.

    def add(self, client: Client) -> None:
        """Watch over a client's rights, if they end."""
        ends_at = client.identity.expires_at
        if ends_at is None:
            return
        now = self.wall()
        term = _Term(client, _Due.END, ends_at, self.settings.authenticate_timeout)
        self._terms[client] = term
        if client.vouched:
            # The program renews them, which said who it is.
            self._push(ends_at, term)
        else:
            term.next = _Due.RENEWAL
            left = ends_at - now
            self._push(ends_at - min(self.settings.renew_before, left / OF_A_TERM), term)
        if not self._is_running:
            self._is_running = True
            self.nursery.start_soon(self._run, name="rights that end")

    def drop(self, client: Client) -> None:
        """Forget a client."""
        term = self._terms.pop(client, None)
        if term is not None:
            term.client = None
            if len(self._heap) > 2 * len(self._terms) + 16:
                # The list stays the same one: somebody may just be going through it.
                self._heap[:] = [one for one in self._heap if one[2].client is not None]
                heapq.heapify(self._heap)
            if not self._terms:
                self._wake()

    def told(self, client: Client, request_id: str | UnsetType = UNSET) -> Refreshed:
        """Return what a client is told of its rights."""
        return Refreshed(client.identity.role, request_id, self.left(client))

    def left(self, client: Client) -> float | UnsetType:
        """Return how many seconds a client still has its rights, where they end."""
        ends_at = client.identity.expires_at
        return UNSET if ends_at is None else max(0.0, ends_at - self.wall())

    def are_over(self, identity: Identity) -> bool:
        """Return whether these rights have ended by the wall clock."""
        return identity.expires_at is not None and identity.expires_at <= self.wall()

    def have_ended(self, sender: Sender) -> bool:
        """Return whether a sender's rights have ended by now: the task may not have seen it yet.

        Once they have, they stay so, whatever the clock is set to.
        """
        if not self.are_over(sender.identity):
            return False
        if isinstance(sender, Client) and sender.attached and not sender.is_mute:
            self.look()
        return True

    # What is due.

    def look(self) -> None:
        """Do what is due by now. Doesn't wait."""
        now = self.wall()
        heap = self._heap
        while heap and heap[0][0] <= now:
            _, _, term = heapq.heappop(heap)
            if term.client is not None:
                self._come(term, term.client, now)
        self.due = heap[0][0] if heap else math.inf

    def _come(self, term: _Term, client: Client, now: float) -> None:
        match term.next:
            case _Due.RENEWAL:
                term.next = _Due.END
                self._push(term.ends_at, term)
                if now < term.ends_at:
                    client.send(Outgoing(Renew(term.ends_at - now)))
            case _Due.END:
                client.mute()
                if client.room is not None:
                    client.room.rights_changed(client)
                term.next = _Due.CLOSE
                self._push(now + self.settings.rights_grace, term)
            case _Due.CLOSE:
                # What has come may be its new token, or it's just being checked.
                client.read_arrived()
                # Answers that are held back until it may read again are no reason to wait.
                unheard = client.reads + client.waiting - len(client.held or ())
                if unheard and term.patience > 0:
                    term.patience -= PUT_OFF
                    self._push(now + PUT_OFF, term)
                elif client.room is not None:
                    client.room.gone(client)
                    client.close(CloseCode.UNAUTHORIZED, "its rights have ended")

    def _push(self, at: float, term: _Term) -> None:
        self._pushed += 1
        heapq.heappush(self._heap, (at, self._pushed, term))
        if at < self.due:
            self.due = at
            self._wake()

    def _wake(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    async def _run(self) -> None:
        """Look whenever something is due; end when nothing is left that could be."""
        try:
            while self._terms:
                seconds = min(max(0.0, self.due - self.wall()), LOOK_AGAIN)
                with trio.CancelScope(deadline=trio.current_time() + seconds) as self._scope:
                    await trio.sleep_forever()
                self._scope = None
                self.look()
            self._heap.clear()
            self.due = math.inf
        finally:
            self._scope = None
            self._is_running = False
