"""One gathering of a run: its clients come and go, submit and rest, until its log is checked.

It is used for a while: in turns it is busy, or left alone for longer than its idle timeout. Then
its clients get the answers that are missing, one more client reads the log from the beginning, and
the history goes through both checkers.
"""

from time import monotonic

import trio
from attrs import define, field

from tests.nemesis import linearizability, log_order
from tests.nemesis.client import Client, State
from tests.nemesis.crowd import Crowd
from tests.nemesis.ends import Ends
from tests.nemesis.gathering_log import GatheringLog
from tests.nemesis.history import Append, Operation, Read, resolve

LOOK = 0.25
"""Seconds between two looks at who isn't answered, and at what is due."""
STEPS = 500_000
"""How far the search for an order goes before it is left to the pass for logs alone."""


@define(eq=False)
class Gathering:
    """One gathering. Times are of `time.monotonic`."""

    _crowd: Crowd
    name: str
    until: float
    """How long it is used."""
    rate: float
    """How many syncs a second its clients send while it is busy."""
    people: int = 3
    history: list[Operation] = field(factory=list, init=False)
    notes: list[tuple[float, str]] = field(factory=list, init=False)
    """What happened to its clients' connections: for people who search for what was wrong."""
    ends: Ends = field(init=False)
    checked: trio.Event = field(factory=trio.Event, init=False)
    _clients: list[Client] = field(factory=list, init=False)
    _gone: list[Client] = field(factory=list, init=False)
    """Those that went for good, with syncs that may not have been answered."""
    _reader: Client | None = field(default=None, init=False)
    _rests_until: float = field(default=0.0, init=False)
    _busy_until: float = field(default=0.0, init=False)
    _is_overdue: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        crowd = self._crowd
        self.ends = Ends(self.name, crowd.idle_timeout, crowd.lateness, crowd.diary)

    def begin(self) -> None:
        """Have the first clients come."""
        for _ in range(self.people):
            self._come()
        self._busy()
        self._crowd.schedule.at(monotonic() + LOOK, self._look)

    # While it is used.

    def _come(self) -> Client:
        client = Client(self._crowd, self, f"c{self._crowd.number()}")
        self._clients.append(client)
        client.arrive()
        return client

    def _busy(self) -> None:
        """Be busy for a while, then rest for longer than the idle timeout, or shorter."""
        choose, now, idle = self._crowd.choose, monotonic(), self._crowd.idle_timeout
        self._busy_until = now + choose.uniform(0.3, 1.5) * idle
        self._rests_until = self._busy_until + choose.choice((0.5, 1.2, 1.5, 2)) * idle
        self._crowd.schedule.at(self._rests_until, self._busy)
        self._act()

    def _act(self) -> None:
        """Do one thing, and plan the next."""
        choose, now = self._crowd.choose, monotonic()
        if now >= min(self._busy_until, self.until):
            return
        client = choose.choice(self._clients)
        what = choose.random()
        if what < 0.75:
            client.submit(choose.choice((1, 1, 1, 2, 5)))
        elif what < 0.9:
            client.fetch()
        elif what < 0.95:
            client.cut(politely=choose.random() < 0.5)
        else:
            # It goes for good, whatever it waits for, and somebody else comes.
            client.stays = False
            client.cut()
            self._clients.remove(client)
            self._gone.append(client)
            self._come()
        self._crowd.schedule.at(now + choose.expovariate(self.rate), self._act)

    def _look(self) -> None:
        """See who waits in vain, whether an end is overdue, and whether all is over."""
        now = monotonic()
        for client in [*self._clients, *([self._reader] if self._reader else [])]:
            client.look(now)
        self._look_for_an_end(now)
        if now >= self.until and self._reader is None:
            self._finish()
        if self._reader is not None and self._has_read(self._reader):
            self._end()
            return
        self._crowd.schedule.at(now + LOOK, self._look)

    def _look_for_an_end(self, now: float) -> None:
        """Find an end that doesn't come."""
        due = self.ends.sent + self._crowd.idle_timeout + self._crowd.lateness
        is_in = any(client.state is State.IN for client in self._clients)
        if now < due or not is_in:
            self._is_overdue = False
        elif not self._is_overdue and not self._crowd.diary.is_disturbed(self.ends.sent, now):
            self._is_overdue = True
            what = f"{self.name} doesn't end, {now - due:.3f} s late"
            self._crowd.diary.violated(what, self.name)

    # In the end.

    def abandon(self) -> None:
        """Have all go, without a check."""
        for client in [*self._clients, *([self._reader] if self._reader else [])]:
            client.stays = False
            client.cut()

    def _finish(self) -> None:
        """Let the others go once they were answered; then have one come that reads all."""
        if any(client.pending for client in self._clients):
            for client in self._clients:
                # Those that rest after an end, too.
                client.arrive()
            return
        self.abandon()
        self._reader = Client(self._crowd, self, "the last reader")
        self._reader.arrive()

    def _has_read(self, reader: Client) -> bool:
        """Whether the last reader has all that it was promised."""
        promised = [one.seq for one in self.history if isinstance(one, Read)][-1:]
        return reader.state is State.IN and [reader.have] >= promised

    def _end(self) -> None:
        """Go, with the history complete: it is to be judged."""
        self.abandon()
        for client in [*self._gone, *self._clients]:
            for one in client.pending.values():
                self.history.append(Append(client=client.name, invoked=one.invoked, ops=one.ops))
        for life in self.ends.lives.values():
            if life.notice is not None:
                self.history.append(life.as_end())
        self._crowd.to_judge.send_nowait(self)

    async def judge(self) -> None:
        """Have both checkers look at the history, in a thread: it may take them seconds.

        Cancellation: nothing is noted.
        """
        wrong, is_decided = await trio.to_thread.run_sync(_judge, self.history)
        diary = self._crowd.diary
        diary.counts["gatherings"] += 1
        diary.counts["operations"] += len(self.history)
        diary.counts["undecided"] += not is_decided
        if wrong is not None:
            diary.violated(f"{self.name}: {wrong}", self.name)
        diary.keep(self.name, [*self.notes, *((one.invoked, str(one)) for one in self.history)])
        self.checked.set()


def _judge(history: list[Operation]) -> tuple[str | None, bool]:
    """Return what is wrong with a history, and whether the search came to an end."""
    try:
        log_order.check(history)
        verdict = linearizability.check(resolve(history), GatheringLog(), steps=STEPS)
    except log_order.Contradiction as error:
        return str(error), True
    except linearizability.Undecided:
        return None, False
    if verdict.is_linearizable:
        return None, True
    return f"no order explains {verdict.unexplained}", True
