"""Delivery: brings each client the committed ops of all others, once each."""

import math

import trio
from attrs import define

from squire_gatherings._hall.catching_up import bring_pages
from squire_gatherings._hall.clients import Client, Paging
from squire_gatherings._hall.forwards import CROWD, Batch, forwards_of
from squire_gatherings._hall.retries import Retries
from squire_gatherings._hall.room import Room
from squire_gatherings._values.extras import PLAIN
from squire_gatherings._values.messages import ServerMessage
from squire_gatherings._values.outgoing import Outgoing

NOBODY = -1
"""No client has everything up to this seq and nothing more."""


@define(eq=False)
class Delivery:
    """Brings the clients of one incarnation forward in its log.

    Its tasks (one for the retries while anything is unacknowledged, one for each
    client that lacks ops which only the store has) run in the room's nursery.
    """

    room: Room
    batch: Batch | None = None
    """The last batch, until all clients have been brought it."""
    _retries: Retries | None = None
    """Present while anything is unacknowledged."""

    # What was committed.

    def begin_batch(self, after: int) -> None:
        """Begin to deliver what was just committed together: all ops after `after`.

        There is no batch where one client is alone: nobody shares anything with it.
        """
        clients = self.room.clients
        if len(clients) > 1:
            self.batch = Batch(self.room, after, list(clients.values()))

    async def bring_the_rest(self) -> None:
        """Bring the batch to all who still lack it, with turns for other gatherings in between.

        A checkpoint only if there are any. While it isn't certain that the gathering is ours, the
        batch stays.

        Cancellation: some clients have the batch and some don't.
        """
        while self.batch is not None:
            await trio.lowlevel.checkpoint()
            if not self.room.may_show:
                return
            self.bring_batch(trio.current_time())

    def bring_batch(self, now: float) -> None:
        """Bring the batch to clients that lack it, encoded once for all who lack the same.

        Not all of a large crowd get it in one turn: the others are still `behind` afterwards.
        """
        batch, log = self.batch, self.room.log
        if batch is None:
            for client in self.room.clients.values():
                if client.window.reached < log.committed:
                    self.bring(client, log.committed, now)
            return
        behind = batch.behind
        count, others = len(behind), 0
        some = iter(behind[-CROWD:])
        del behind[-CROWD:]
        after, up_to = batch.after, log.committed
        # Those who have all up to there lack the batch and nothing else: almost everybody.
        alike = after if after + 1 >= log.tail_start else NOBODY
        forwards: list[Outgoing] = []
        only: Outgoing | None = None
        extras = PLAIN
        left, weight = CROWD, 1
        for client in some:
            window = client.window
            if window.reached != alike or client.paging or not client.attached:
                others += 1
                left -= self.bring(client, up_to, now)
                if left <= 0:
                    break
                continue
            if client.extras is not extras:
                # It asks for something else than the one before.
                extras, forwards, only = client.extras, [], None
            if only is not None:
                # As `client.send` and `window.forwarded`: calls would take as long as the rest.
                try:
                    client.connection.send(only)
                except Exception as error:
                    client.lost("send", error)
            else:
                if not forwards:
                    forwards = batch.forwards(after, up_to, extras)
                    only = forwards[0] if len(forwards) == 1 else None
                    weight = batch.weight
                for outgoing in forwards:
                    client.send(outgoing)
            if window.owed > window.acked:
                window.reached = window.owed = up_to
            else:
                window.forwarded(up_to, now)
            if weight != 1:
                left -= weight
                if left <= 0:
                    break
        behind.extend(some)
        brought = count - len(behind) - others
        if brought:
            self.room.quotas.tally.forwards += brought * (up_to - after)
            settings = self.room.settings
            self._arm(now + min(settings.retry_interval, settings.retry_limit))
        if not behind:
            self.batch = None

    def bring(self, client: Client, up_to: int, now: float) -> int:
        """Forward to a client what it lacks up to `up_to`.

        Returns:
            How many messages that took: 0 where a task must read the store first, or does already.
        """
        window = client.window
        if window.reached >= up_to or client.paging or not client.attached:
            return 0
        room, batch = self.room, self.batch
        if window.reached + 1 < room.log.tail_start:
            client.paging = Paging.READING
            room.nursery.start_soon(self._catch_up, client, name=f"pager of {room.id}")
            return 0
        if batch is None:
            forwards = forwards_of(room, window.reached, up_to, client.extras)
        else:
            forwards = batch.forwards(window.reached, up_to, client.extras)
        for outgoing in forwards:
            client.send(outgoing)
        self._sent(client, up_to, now)
        return len(forwards)

    def synced(self, client: Client, seqs: range, answer: ServerMessage, now: float) -> None:
        """Tell a client the seqs of its own ops, after it has everything that comes before them.

        While the client catches up, the answer is held back, and its sync counts as unanswered. A
        client that has left is told nothing.
        """
        if not client.attached:
            return
        window = client.window
        before = seqs.start - 1
        if window.reached < before:
            self.bring(client, before, now)
            if window.reached < before:
                self._hold(client, seqs, answer)
                return
        last = seqs.stop - 1
        if window.reached < last:
            window.passed(last)
        client.answer(answer)

    def _hold(self, client: Client, seqs: range, answer: ServerMessage) -> None:
        if client.attached:
            if client.held is None:
                client.held = []
            client.held.append((seqs, answer))
            client.held.sort(key=lambda one: one[0].start)
            client.waiting += 1

    def resume(self, client: Client) -> None:
        """Go on with a client that was in another process: bring it what it lacks by now."""
        self._arm(client.window.due_at)
        if client.is_mute:
            return
        if client.window.reached + 1 < self.room.log.tail_start:
            client.paging = Paging.SENDING
            self.room.nursery.start_soon(self._catch_up, client, name=f"pager of {self.room.id}")
        else:
            self.go_on(client)

    # Acknowledgements and retries.

    def _sent(self, client: Client, up_to: int, now: float) -> None:
        """Note that a client's connection was given all that others did up to `up_to`."""
        self.room.quotas.tally.forwards += up_to - client.window.reached
        client.window.forwarded(up_to, now)
        self._arm(client.window.due_at)

    def acknowledged(self, client: Client, seq: int, now: float) -> None:
        """Note that a client says that it has everything up to `seq`."""
        window = client.window
        window.acknowledged(seq, now)
        if window.due_at != math.inf:
            # Its limit and its retries begin anew, and may be due sooner than what is armed.
            self._arm(window.due_at)

    def _arm(self, due: float) -> None:
        """Have the retries look at all clients at the time `due`, or sooner."""
        if self._retries is None:
            if due != math.inf:
                self._retries = Retries(self.room, due)
                name = f"retries of {self.room.id}"
                self.room.nursery.start_soon(self._retries.run, self._forget_retries, name=name)
        elif due < self._retries.due:
            self._retries.arm(due)

    # Its tasks.

    @property
    def retries(self) -> int:
        """How many tasks there are that would send again what isn't acknowledged: 1 or none."""
        return int(self._retries is not None)

    def _forget_retries(self) -> None:
        self._retries = None

    async def _catch_up(self, client: Client) -> None:
        """Bring a client what it lacks; end when it has left.

        Ops that the client submits meanwhile are in the log like all others, but aren't brought to
        it: the answer goes out in their place.
        """
        with client.under_way():
            try:
                if client.paging is Paging.SENDING:
                    # Its last page, from another process.
                    await client.flush()
                await bring_pages(self.room, client, self._sent)
            finally:
                client.paging = Paging.MUTED if client.is_mute else Paging.NO
            if not client.paging:
                self.go_on(client)

    def go_on(self, client: Client) -> None:
        """Give a client the answers that were held back, and bring it what it lacks."""
        now = trio.current_time()
        held, client.held = client.held, None
        if held is not None:
            for seqs, answer in held:
                self.synced(client, seqs, answer, now)
            client.processed(len(held))
        self.room.let_go(client)
        self.bring(client, self.room.log.committed, now)
