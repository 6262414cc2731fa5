"""Presence: tells the clients of gatherings who is here, where they ask for it.

A gathering in which nobody has asked has nothing here. One task for each gathering in which
something has changed tells those who asked, and ends when all know. It is none of the gathering's
own tasks, since a gathering may sleep while its clients come and go.
"""

import math
from collections.abc import Iterable

import trio
from attrs import define, field

from squire_gatherings._hall.clients import Client
from squire_gatherings._hall.ownership import Ownership
from squire_gatherings._hall.quotas import Quotas
from squire_gatherings._rules.presence import WhoIsHere
from squire_gatherings._values.errors import TooBig
from squire_gatherings._values.op import Op
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings._values.presence import PresenceView, shown
from squire_gatherings._values.settings import HallSettings

CROWD = 128
"""How many clients are told before others get their turn."""

SLOW = 16 * 1024
"""A client for whom more bytes wait is told later, and then what is so by then."""

MEMBER_COST = 500
"""About how many bytes of memory a client takes here, besides its state."""


@define(eq=False)
class _Crowd:
    """Those who asked in one gathering."""

    here: WhoIsHere
    nursery: trio.Nursery
    quotas: Quotas
    ownership: Ownership | None
    clients: dict[str, Client] = field(factory=dict)
    """Those who are connected, by scope."""
    changes: int = 0
    """How often somebody has come, gone, or another state was shown."""
    _cost: int = 0
    """What it takes of the budget."""
    _is_running: bool = False
    _is_over: bool = False
    _scope: trio.CancelScope | None = None

    def changed(self) -> None:
        """Count it anew, and have its task do what is due."""
        self.changes += 1
        self._count(len(self.here) * MEMBER_COST + self.here.size)
        if not self._is_running:
            self._is_running = True
            self.nursery.start_soon(self._run, name="presence")
        elif self._scope is not None:
            self._scope.deadline = min(self._scope.deadline, self.here.due)

    def _count(self, cost: int) -> None:
        self.quotas.budget.presence += cost - self._cost
        self._cost = cost

    @property
    def _is_held_up(self) -> bool:
        """Whether nobody may be told anything now."""
        return self.quotas.is_leaving or not (self.ownership is None or self.ownership.is_certain)

    def end(self) -> None:
        """Tell nobody anything any more."""
        self._is_over = True
        self.clients.clear()
        self._count(0)
        if self._scope is not None:
            self._scope.cancel()

    async def _run(self) -> None:
        """Do what is due, until nothing is."""
        try:
            while (due := self.here.due) < math.inf and not self._is_over:
                with trio.CancelScope(deadline=due) as self._scope:
                    await trio.sleep_until(due)
                self._scope = None
                if not self._is_over and self.here.advance(trio.current_time()):
                    await self._tell()
        finally:
            self._scope = None
            self._is_running = False

    async def _tell(self) -> None:
        """Tell all who don't know yet, each message encoded once, with turns for others."""
        here, made = self.here, dict[int, Outgoing]()
        left, is_waiting = CROWD, False
        for scope in here.to_tell():
            client = self.clients.get(scope)
            if client is None:
                continue
            if self._is_held_up or client.backlog > SLOW:
                is_waiting = True
                continue
            message = here.message(scope)
            if message is not None:
                outgoing = made.get(id(message))
                if outgoing is None:
                    outgoing = made[id(message)] = Outgoing(message)
                client.send(outgoing)
                left -= 1
                if not left:
                    left = CROWD
                    await trio.lowlevel.checkpoint()
        if is_waiting:
            here.put_off(trio.current_time())


@define(eq=False)
class Presences:
    """Who is in the gatherings of one hall. All of it is by a gathering's id.

    Nothing here waits.
    """

    settings: HallSettings
    nursery: trio.Nursery
    quotas: Quotas
    ownership: Ownership | None = None
    """Whether it's certain that they are ours, where several nodes form the hall."""
    _crowds: dict[str, _Crowd] = field(factory=dict)

    def check(self, state: Op) -> None:
        """Raise `TooBig` for a state that is larger than one may be."""
        most = self.settings.presence_bytes
        if len(state.json) > most:
            raise TooBig(f"a state has at most {most} bytes as JSON, not {len(state.json)}")

    def said(self, gathering: str, client: Client, state: Op) -> None:
        """A client asks to be shown with this state, and to be told; or it has another state now.

        Raises:
            TooBig: The state is too large.
        """
        self.check(state)
        crowd = self._crowds.get(gathering)
        if crowd is not None and crowd.clients.get(client.scope) is client:
            if crowd.here.said(client.scope, state, trio.current_time()):
                crowd.changed()
            else:
                client.wasted(1)
        else:
            self.came(gathering, client, state)

    def came(self, gathering: str, client: Client, state: Op) -> None:
        """A client that is in the gathering by now has asked for presence."""
        crowd = self._crowds.get(gathering)
        if crowd is None:
            settings = self.settings
            here = WhoIsHere(
                settings.presence_interval, settings.presence_users, settings.presence_grace
            )
            crowd = _Crowd(here, self.nursery, self.quotas, self.ownership)
            self._crowds[gathering] = crowd
        scope, now = client.scope, trio.current_time()
        crowd.clients[scope] = client
        crowd.here.came(scope, client.identity.user, state, now)
        if client.is_mute:
            crowd.here.hide(scope, now)
        crowd.changed()

    def gone(self, gathering: str, client: Client) -> None:
        """A client isn't in the gathering any more. Where it may come back, it stays shown."""
        crowd = self._crowds.get(gathering)
        if crowd is None or crowd.clients.get(client.scope) is not client:
            return
        del crowd.clients[client.scope]
        now = trio.current_time()
        if client.leaving or client.is_mute:
            crowd.here.left(client.scope, now)
        else:
            crowd.here.lost(client.scope, now)
        if crowd.here and crowd.clients:
            crowd.changed()
        else:
            # Nobody is there to be told.
            self.end(gathering)

    def rights_changed(self, gathering: str, client: Client) -> None:
        """A client's rights have ended, or were renewed."""
        crowd = self._crowds.get(gathering)
        if crowd is not None and crowd.clients.get(client.scope) is client:
            if client.is_mute:
                crowd.here.hide(client.scope, trio.current_time())
            else:
                crowd.here.show(client.scope, trio.current_time())
            crowd.changed()

    def end(self, gathering: str) -> None:
        """The gathering has ended: nobody is here."""
        crowd = self._crowds.pop(gathering, None)
        if crowd is not None:
            crowd.end()

    def view(self, gathering: str) -> PresenceView:
        """Return who is in a gathering.

        Raises `StoreUnavailable` where it may be another node's.
        """
        if self.ownership is not None:
            self.ownership.check()
        crowd = self._crowds.get(gathering)
        if crowd is None:
            return PresenceView()
        here = crowd.here
        return PresenceView(shown(here.users()), here.count, here.anonymous)

    # Handing over.

    def mark(self, gathering: str) -> tuple[object, int] | None:
        """Return what changes whenever `state` does; None for nobody."""
        crowd = self._crowds.get(gathering)
        return None if crowd is None else (crowd, crowd.changes)

    def state(self, gathering: str) -> list[tuple[int, bytes]] | None:
        """Return the clients that asked, by number, with their states; None for nobody."""
        crowd = self._crowds.get(gathering)
        if crowd is None:
            return None
        clients = crowd.clients
        return [
            (clients[scope].number, state.json)
            for scope, state in crowd.here.states()
            if scope in clients
        ]

    def resume(
        self, gathering: str, clients: Iterable[Client], state: list[tuple[int, bytes]] | None
    ) -> None:
        """Be where another process is that has the gathering. Whoever was told is told anew."""
        self.end(gathering)
        by_number = {client.number: client for client in clients}
        for number, said in state or ():
            client = by_number.get(number)
            if client is not None:
                self.came(gathering, client, Op(said))
