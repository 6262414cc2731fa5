"""The inbox: what waits to be processed by a gathering, whose task sleeps while nothing does."""

from collections.abc import Awaitable
from typing import Protocol

import outcome
import trio
from attrs import define, field

from squire_gatherings._hall.clients import Client, Sender
from squire_gatherings._hall.rounds import Round
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


class Sleeping(Protocol):
    """A gathering whose task sleeps until something arrives."""

    @property
    def scope(self) -> trio.CancelScope | None:
        """What is around its sleep, and ends it at the deadline."""
        ...

    @property
    def is_committing(self) -> bool:
        """Whether it processes nothing before a commit has ended, which wakes it."""
        ...

    def advance(self) -> bool:
        """Go on in place of its task; return whether that may sleep on. Doesn't wait."""
        ...


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
    round: Round = field(factory=Round)
    """In which it is served without its task being woken."""
    _sleeper: trio.lowlevel.Task | None = None
    """The gathering's task, while it waits for something to arrive."""
    _sleeping: Sleeping | None = None
    """The gathering, if it may go on in place of its task then."""
    _is_serving: bool = False
    """Whether it does just now."""
    _is_woken: bool = False
    """Whether its task is to be woken after that."""

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
            if self.round.is_open:
                self.round.arrived[self] = None
            elif self._sleeping is None or not self._sleeping.is_committing:
                self.wake()

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

    def wait(self, sleeping: Sleeping | None = None) -> Awaitable[bool | None]:
        """Wait until a message is put in, or `wake` is called; to be awaited at once.

        Args:
            sleeping: The gathering, if it may go on meanwhile in place of the task, which is woken
                when only the task can go on. The deadline of its scope ends the wait, too.

        Returns:
            True if the deadline has passed.

        Raises:
            BaseException: What has gone wrong in place of the task.

        Cancellation: nothing has been taken out.
        """
        # No `async def` with an `await`: its frame would be 200 bytes of each idle gathering.
        self._sleeper = trio.lowlevel.current_task()
        self._sleeping = sleeping
        return trio.lowlevel.wait_task_rescheduled(self._stop_waiting)  # noqa: ASYNC105

    def wake(self) -> None:
        """Wake the gathering's task, if it waits."""
        if self._is_serving:
            self._is_woken = True
        elif self._sleeper is not None:
            self._reschedule(outcome.Value(None))

    def serve(self) -> None:
        """Let the gathering go on in place of its task, or wake that. Doesn't wait."""
        sleeping = self._sleeping
        if sleeping is None or self._is_serving:
            self.wake()
            return
        self._is_serving, self._is_woken = True, False
        try:
            self._is_woken = not sleeping.advance() or self._is_woken
        except BaseException as error:
            # It is the gathering's, whoever reads.
            self._reschedule(outcome.Error(error))
        else:
            if self._is_woken:
                self._reschedule(outcome.Value(None))
        finally:
            self._is_serving = False

    def _reschedule(self, result: outcome.Outcome[bool | None]) -> None:
        task, self._sleeper, self._sleeping = self._sleeper, None, None
        assert task is not None
        trio.lowlevel.reschedule(task, result)

    def fail(self, error: Exception) -> None:
        """Have the wait of the gathering's task raise this, if it waits."""
        if self._sleeper is not None:
            self._reschedule(outcome.Error(error))

    def _stop_waiting(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        if self._is_serving:
            # The next checkpoint raises.
            self._is_woken = True
            return trio.lowlevel.Abort.FAILED
        scope = None if self._sleeping is None else self._sleeping.scope
        if scope is None or not scope.cancel_called:
            self._sleeper = self._sleeping = None
            return trio.lowlevel.Abort.SUCCEEDED
        # The deadline is no surprise. An exception that unwinds would cost more than the rest of
        # the end. If an outer scope is cancelled, too, the next checkpoint raises.
        self._reschedule(outcome.Value(True))
        return trio.lowlevel.Abort.FAILED
