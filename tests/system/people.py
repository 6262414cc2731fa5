"""People: programs that use our client library, and believe what its documentation says."""

from typing import TYPE_CHECKING, Any

import trio
from attrs import define, field

from squire_gatherings import BadBase, LogFull, LogReplaced, OpConflict, OpRejected, TooBig
from squire_gatherings.client import Gathering, GatheringsError, Left, open_client
from tests.system.book import state_of

if TYPE_CHECKING:
    from tests.system.link import WatchedLink
    from tests.system.world import World


@define(eq=False)
class Person:
    """One program, which comes and goes, and continues where it was."""

    world: "World"
    name: str
    gathering: str
    optimistic: bool = False
    presence: dict[str, Any] | None = None
    """The state with which it asks who is here."""
    read_to: int = 0
    """The last change that it was given."""
    seen: set[int] = field(factory=set)
    here: Gathering | None = None
    told: list[str] = field(factory=list)
    """The incarnations that it was told had ended."""
    links: "list[WatchedLink]" = field(factory=list)
    waiting: dict[str, list[dict[str, Any]]] = field(factory=dict)
    """What it has submitted without an answer so far."""
    reads: bool = True
    replaced: int = 0
    """The number of times that it was told of another log."""
    _replaced_before: int = 0
    """The number of logs that had been replaced when it arrived."""
    _submits: int = 0
    _stay: trio.CancelScope | None = None
    _gone: trio.Event = field(factory=trio.Event)
    _lot: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)

    async def arrive(self) -> None:
        """Join, unless it's there."""
        if self._stay is None:
            self._stay = trio.CancelScope()
            self._gone = trio.Event()
            if self._replacements > self._replaced_before:
                # Somebody has told it so.
                self.read_to = 0
                self.seen.clear()
            self._replaced_before, self.replaced = self._replacements, 0
            self.world.nursery.start_soon(self._live, self._stay)

    @property
    def _replacements(self) -> int:
        return len(self.world.truth.logs.before[self.gathering])

    def present(self, number: int) -> None:
        """Ask who is here, and be shown with a state."""
        self.presence = {"n": number}
        if self.here is not None:
            self.here.set_presence(self.presence)

    async def go(self) -> None:
        """Leave, and wait until it has left."""
        if self._stay is not None:
            self._stay.cancel()
            await self._gone.wait()

    async def _live(self, stay: trio.CancelScope) -> None:
        try:
            with stay:
                async with (
                    open_client(
                        "ws://memory",
                        open_stream=self._connect,
                        token=f"user:{self.name}",
                        max_changes=200,
                        max_pause=5.0,
                        join_patience=1e6,
                        close_timeout=1.0,
                    ) as client,
                    client.join(
                        self.gathering,
                        behaviour=self.world.client_behaviour,
                        optimistic=self.optimistic,
                        since=self.read_to,
                        client_id=f"the secret of {self.name}",
                        syncs=self.optimistic,
                        presence=self.presence,
                    ) as self.here,
                ):
                    if self._replacements > self._replaced_before:
                        # It can't be told any more: it comes without having been here.
                        self.seen.update(range(1, self.read_to + 1))
                    await self._read(self.here)
        except (BadBase, LogReplaced) as error:
            is_other = self._replacements > self._replaced_before
            self.world.truth.check(is_other, f"{self.name} is out: {error!r}")
        except GatheringsError as error:
            self.world.truth.fault(f"{self.name} is out: {error!r}")
        finally:
            # Unanswered ops may still be under way, and later ones may overtake them.
            for ops in self.waiting.values():
                self.world.truth.excused.update(op["k"] for op in ops)
            self.here = self._stay = None
            self._gone.set()

    async def _connect(self) -> trio.abc.Stream:
        found = await self.world.connect()
        if found is None:
            raise ConnectionRefusedError(111, "Connection refused")
        self.links.append(found[1].link)
        return found[0]

    async def _read(self, here: Gathering) -> None:
        truth = self.world.truth
        while True:
            try:
                async for change in here:
                    what = f"{self.name} reads {change}"
                    truth.check(change.seq > self.read_to, f"{what} after {self.read_to}")
                    logs = truth.logs.all_of(self.gathering)
                    is_there = any(
                        one.op == change.op
                        for log in logs
                        for one in log.ops[change.seq - 1 : change.seq]
                    )
                    truth.check(is_there, f"{what}, not what is logged")
                    self.read_to = change.seq
                    self.seen.add(change.seq)
                    while not self.reads:
                        await self._lot.park()
            except LogReplaced as error:
                self.replaced += 1
                times = self._replacements - self._replaced_before
                truth.check(self.replaced <= times, f"{self.name}: {error!r}, and no log was")
                self.read_to = 0
                self.seen.clear()
            notice = here.dispersed
            if notice is not None:
                twice = (
                    notice.incarnation in self.told and notice.incarnation not in truth.came_back
                )
                truth.check(not twice, f"{self.name} is told twice of {notice}")
                self.told.append(notice.incarnation)

    def submit(self, kinds: list[str], after: float | None) -> None:
        """Submit; with `after`, give up after this many seconds."""
        if self.here is not None:
            self.world.nursery.start_soon(self._submit, self.here, kinds, after)

    async def _submit(self, here: Gathering, kinds: list[str], after: float | None) -> None:
        # The numbers follow the order in which ops are submitted.
        ops = [{"k": f"{self.name}.{self._number()}", "do": kind} for kind in kinds]
        truth = self.world.truth
        sync_id = f"{self.name}-{ops[0]['k']}"
        truth.submits(self.gathering, ops)
        self.waiting[sync_id] = ops
        with trio.move_on_after(after if after is not None else 1e9) as patience:
            try:
                seqs = await here.submit_all(ops, sync_id=sync_id)
            except (OpRejected, OpConflict, Left):
                pass
            except (LogFull, TooBig):
                truth.excused.update(op["k"] for op in ops)
            except GatheringsError as error:
                truth.fault(f"{self.name} submitted {ops}: {error!r}")
            else:
                logs = truth.logs.all_of(self.gathering)
                is_there = any(log.has(seqs, tuple(op["k"] for op in ops)) for log in logs)
                truth.check(is_there, f"{self.name}: {seqs} for {ops}, there is {logs[0]}")
        if not patience.cancelled_caught:
            self.waiting.pop(sync_id, None)

    def _number(self) -> int:
        self._submits += 1
        return self._submits

    def set_reading(self, reads: bool) -> None:
        """Stop reading, or read on."""
        self.reads = reads
        self._lot.unpark_all()

    def has_everything(self) -> None:
        """Check that it has the whole log, and the log's state."""
        truth, here = self.world.truth, self.here
        assert here is not None
        whole = truth.logs.now[self.gathering]
        log = whole.ops
        truth.check(here.unanswered == 0, f"{self.name}: {here.unanswered} not answered")
        truth.check(here.seq == len(log), f"{self.name} has {here.seq} of {len(log)}")
        if whole.first_seq == 1 or self.world.setup.snapshots:
            # Nobody can tell the state where the server doesn't, and ops were left out.
            state = state_of(whole.keys(len(log)))
            truth.check(here.snapshot() == state, f"{self.name}: {here.snapshot()}, not {state}")
        for seq, logged in enumerate(log, start=1):
            is_own = logged.op["k"].startswith(f"{self.name}.")
            is_read = is_own or seq in self.seen or seq < whole.first_seq
            truth.check(is_read, f"{self.name} never read {seq}: {logged}")
