"""The inbox: what waits to be processed by a gathering, whose task sleeps while nothing does."""

from collections.abc import Awaitable

import outcome
import trio
from attrs import define, field

from squire_gatherings._hall.clients import Client, Sender
from squire_gatherings._rules.budget import Budget
from squire_gatherings._values.log import Shown
from squire_gatherings._values.messages import ClientMessage
from squire_gatherings._values.op import Op


@define(eq=False)
class JoinRequest:
    """A join: a client that wants in, and what the joining task has read for it."""

    client: Client
    since: int | None
    page: Shown = field(factory=Shown)
    """Ops after `since` from the store, where they are older than memory."""
    epoch: str | None = None
    """The epoch of the op `since`, as the client knows it."""
    made_client_id: str | None = field(default=None, repr=False)
    """The id that was made for a client that has given none."""
    is_activity: bool = True
    tail: bool = False
    """Whether the client wants nothing of what came before the join."""
    presence: Op | None = None
    """The state with which it asks for presence."""
    abandoned: bool = False
    """Whether the task that asked was cancelled."""


Request = ClientMessage | JoinRequest


@define(eq=False, weakref_slot=False)
class Inbox:
    """What has arrived at one incarnation, in order.

    The gathering's task takes messages out at the front of `waiting`, and counts them in `taken`.
    """

    waiting: list[tuple[Sender, Request]] = field(factory=list)
    taken: int = 0
    """How many messages were taken out so far."""
    cost: int = 0
    """About how many bytes those waiting messages take that came behind others of their client."""
    budget: Budget = field(factory=Budget)
    """Counts the bytes of all inboxes."""
    _sleeper: trio.lowlevel.Task | None = None
    """The gathering's task, while it waits for something to arrive."""
    _scope: trio.CancelScope | None = None
    """What ends that wait at a deadline."""

    @property
    def put_in(self) -> int:
        """How many messages were put in so far."""
        return self.taken + len(self.waiting)

    @property
    def is_awaited(self) -> bool:
        """Whether the gathering's task waits for something to arrive."""
        return self._sleeper is not None

    def put(self, sender: Sender, request: Request) -> None:
        """Put a message in. How many there may be is for the sender to check."""
        self.waiting.append((sender, request))
        if self._sleeper is not None:
            trio.lowlevel.reschedule(self._sleeper)
            self._sleeper = None

    def relieve(self, count: int) -> None:
        """Note that so many messages are about to be taken out, with their share of the cost."""
        count_all = len(self.waiting)
        self._relieve(self.cost * count // count_all if count_all else self.cost)

    def clear(self) -> None:
        """Throw all away that waits."""
        self.waiting.clear()
        self._relieve(self.cost)

    def _relieve(self, cost: int) -> None:
        self.cost -= cost
        self.budget.inboxes -= cost

    def wait(self, scope: trio.CancelScope | None = None) -> Awaitable[bool | None]:
        """Wait until a message is put in, or `wake` is called; to be awaited at once.

        Args:
            scope: Is around the wait, and has a deadline at which that ends, too.

        Returns:
            True if the deadline has passed.

        Cancellation: nothing has been taken out.
        """
        # No `async def` with an `await`: its frame would be 200 bytes of each idle gathering.
        self._sleeper = trio.lowlevel.current_task()
        self._scope = scope
        return trio.lowlevel.wait_task_rescheduled(self._stop_waiting)  # noqa: ASYNC105

    def wake(self) -> None:
        """Wake the gathering's task, if it waits."""
        if self._sleeper is not None:
            trio.lowlevel.reschedule(self._sleeper)
            self._sleeper = None

    def fail(self, error: Exception) -> None:
        """Have the wait of the gathering's task raise this, if it waits."""
        if self._sleeper is not None:
            trio.lowlevel.reschedule(self._sleeper, outcome.Error(error))
            self._sleeper = None

    def _stop_waiting(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        task, self._sleeper = self._sleeper, None
        if task is None or self._scope is None or not self._scope.cancel_called:
            return trio.lowlevel.Abort.SUCCEEDED
        # The deadline is no surprise. An exception that unwinds would cost more than the rest of
        # the end. If an outer scope is cancelled, too, the next checkpoint raises.
        trio.lowlevel.reschedule(task, outcome.Value(True))
        return trio.lowlevel.Abort.FAILED
