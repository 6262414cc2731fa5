"""The hall: what a program asks of the gatherings of its process."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal, Unpack

import attrs
import trio
from attrs import define, field

from squire_gatherings._hall.asking import Asking
from squire_gatherings._hall.closing import close_all, end, put_to_sleep
from squire_gatherings._hall.connection import Connection
from squire_gatherings._hall.end_calls import EndCalls
from squire_gatherings._hall.ending import Ending
from squire_gatherings._hall.event_delivery import Delivery
from squire_gatherings._hall.joining import Joining, check_asked
from squire_gatherings._hall.logs import Logs
from squire_gatherings._hall.membership import Membership
from squire_gatherings._hall.node_calls import NodeCalls
from squire_gatherings._hall.observing import numbers_of
from squire_gatherings._hall.opening import find
from squire_gatherings._hall.ownership import Peers
from squire_gatherings._hall.quotas import opener_of
from squire_gatherings._hall.registry import Registry
from squire_gatherings._hall.reports import JoinReport
from squire_gatherings._hall.rights import Rights
from squire_gatherings._hall.rights_calls import RightsCalls
from squire_gatherings._hall.sleeper import Sleeper
from squire_gatherings._hall.store import Store
from squire_gatherings._values.checks import check_identity
from squire_gatherings._values.end_rules import EndRules
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.errors import BadSetting
from squire_gatherings._values.extras import extras
from squire_gatherings._values.handshake import HandshakeRequest
from squire_gatherings._values.identity import ANONYMOUS, Identity
from squire_gatherings._values.ids import check_gathering_id
from squire_gatherings._values.log import Page
from squire_gatherings._values.messages import Proof
from squire_gatherings._values.numbers import HallNumbers
from squire_gatherings._values.op import Op
from squire_gatherings._values.presence import PresenceView
from squire_gatherings._values.settings import HallOptions, HallSettings

FIXED = ("authenticate_timeout", "max_remembered", "when_full", "presence")
"""The settings of a hall that stay as they are."""


@define(eq=False)
class Hall(EndCalls, RightsCalls, NodeCalls):
    """The gatherings of one process. Made by `open_hall`.

    Every method that takes a gathering's id raises `BadGatheringId` if it can't be one, and
    `HallClosed` once the hall is closing. Those that open the gathering also raise
    `StoreUnavailable`, `GatheringCrashed` when its behaviour fails to restore it, or `Full` where
    there are too many.

    Where several halls share a store (docs/embedding.md), those also raise `OwnedElsewhere`, which
    carries the node that has the gathering, and `TakenAway` where that has just changed. All others
    know only the gatherings of this hall.

    Every async method is a checkpoint, also where it need not wait. One that is cancelled
    before it began has done nothing; its docstring says what else cancellation does.
    """

    settings: HallSettings
    store: Store = field(repr=False)
    _rights: Rights = field(repr=False)
    _registry: Registry = field(repr=False)
    _events: Delivery | None = field(default=None, repr=False)
    logs: Logs = field(init=False, repr=False)
    """Whole logs: listed, exported, forked, compacted, deleted."""
    _peers: Peers | None = field(default=None, init=False, repr=False)
    _asking: Asking = field(init=False, repr=False)
    _ending: Ending = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.logs = Logs(self._registry, self._rights.terms.wall)
        self._asking = Asking(self._registry, self._rights)
        self._ending = Ending(self._registry)

    # Joining.

    async def join(
        self,
        gathering_id: str,
        connection: Connection,
        *,
        since: int | None = None,
        epoch: str | None = None,
        client: str | None = None,
        resume: str | None = None,
        token: str | None = None,
        request: HandshakeRequest | None = None,
        identity: Identity | None = None,
        tail: bool = False,
        times: bool = False,
        proof: bool = False,
        known: Proof | None = None,
        syncs: bool = False,
        presence: Op | dict[str, Any] | None = None,
    ) -> Membership:
        """Join a gathering, which is opened if need be; `joined` goes to the connection.

        A join that meets a gathering while it disperses waits for the next incarnation. Of
        several connections of the same `client`, the one that asked last is in the gathering.

        Args:
            gathering_id: Which gathering.
            connection: Takes what the client is told, `joined` first.
            since: The last seq that the client has.
            epoch: The epoch of that op.
            client: The client's own random id. If there is none, one is made, and told in
                `joined`.
            resume: The incarnation to which a client returns by itself, with nothing new. That is
                no activity, and doesn't wake a gathering that has ended meanwhile.
            token: What the hall's `authenticate` gets, where there is no `identity`.
            request: The HTTP request by which the client came, if any; `authenticate` sees it.
            identity: Who the client is, as the caller knows already.
            tail: Without `since`, the client is given nothing of what came before the join.
            times: The client is told the times of ops.
            proof: The client is told what proves the log (see `Proof`).
            known: Such a proof, which the client was told before.
            syncs: The client is told which syncs ops came from.
            presence: The client is shown among those who are here, with this state (a JSON object),
                and is told who is. Where the hall has no `presence`, this is ignored.

        Returns:
            The client's way into the gathering.

        Raises:
            Unauthorized: `authenticate` refused the client, or its rights have ended or were
                revoked.
            AuthenticationUnavailable: It can't tell now, or not within `authenticate_timeout`.
            Replaced: Another connection of the same client asked later.
            Full: The gathering, the user or the server has all the clients, or all the open
                gatherings, that it may have.
            TooBig: The state `presence` is larger than `presence_bytes`.
            BadBase: `since` lies beyond the end of the log.
            LogReplaced: The log isn't that of `epoch`, or not that of `known`.
            GatheringDispersed: `resume` has ended; the notice was sent and the connection closed.

        Cancellation: the connection isn't in the gathering.
        """
        check_asked(gathering_id, since, epoch, known, client, resume)
        shown = None
        if presence is not None and self._registry.presence is not None:
            shown = presence if isinstance(presence, Op) else Op.of(presence)
            self._registry.presence.check(shown)
        await trio.lowlevel.checkpoint_if_cancelled()
        rights, tally = self._rights, self._registry.quotas.tally
        asked, vouched = rights.number(), identity is not None
        kind = "resume" if resume is not None else "new" if since is None else "since"
        peer = None if request is None else request.peer
        report = JoinReport(self._registry.quotas, gathering_id, peer)
        with tally.join(kind), report:
            if identity is None:
                identity = await rights.identify(token, gathering_id, request)
            else:
                check_identity(identity)
                report.user = identity.user
                identity = rights.standing(identity, gathering_id)
            report.user = identity.user
            opener = opener_of(identity, request)
            ask = Joining(
                gathering_id,
                connection,
                opener,
                client,
                vouched,
                asked,
                since,
                epoch,
                resume,
                tail,
                extras(times=times, syncs=syncs),
                proof,
                known,
                shown,
            )
            try:
                joiner, _, room = await ask.until_answered(identity, self._registry, rights)
            finally:
                self._registry.visited(gathering_id, counted=False)
        return self._asking.membership(room, joiner)

    async def open(self, gathering_id: str, rules: EndRules | None = None) -> None:
        """Open a gathering, unless it is open. It disperses in time, even if nobody ever joins.

        Args:
            gathering_id: Which gathering.
            rules: By which rules it ends, until then, instead of the hall's (`end_rules`). If it is
                open already, it has these from now on. What was changed by `change_rules` and
                `hold` stays.

        Cancellation: the opening is given up, unless somebody else waits for it, too.
        """
        check_gathering_id(gathering_id)
        await trio.lowlevel.checkpoint_if_cancelled()
        if rules is not None and not isinstance(rules, EndRules):
            raise BadSetting(f"rules are EndRules, not {rules!r:.80}")
        room = await find(self._registry, gathering_id)
        room.is_wanted = True
        if rules is not None:
            self._ending.give(room, rules)
        self._registry.visited(gathering_id, counted=False)
        await trio.lowlevel.cancel_shielded_checkpoint()

    # Asking without a connection.

    async def submit(
        self,
        gathering_id: str,
        ops: Iterable[dict[str, Any]],
        *,
        sync_id: str | None = None,
        base: int | None = None,
        identity: Identity = ANONYMOUS,
    ) -> tuple[int, ...]:
        """Submit ops as a sync of its own.

        Args:
            gathering_id: Which gathering.
            ops: One or more JSON objects.
            sync_id: 1 to 128 characters. A sync of the same user with the same id is applied
                once, however often it is submitted. If there is none, a random one is made.
            base: The last seq on which the ops build; by default the end of the log at the moment
                at which they are judged.
            identity: The identity of the submitter.

        Returns:
            The ops' seqs, once the ops are durable.

        Raises:
            OpRejected: The behaviour takes no such op.
            OpConflict: The behaviour can't merge them with what came after `base`.
            Unauthorized: Its rights have ended, or were revoked.
            Forbidden: The identity may not submit.
            BadBase: `base` lies beyond the end of the log.
            SyncIdReused: The id was used before, for other ops.
            TooBig: There are more than `max_ops` ops.
            ValueError: The ops aren't JSON, or `base` or `sync_id` can't be one.

        Cancellation: the ops may or may not be applied.
        """
        return await self._asking.submit(gathering_id, ops, sync_id, base, identity)

    async def fetch(
        self,
        gathering_id: str,
        *,
        since: int | None = None,
        at: int | datetime | None = None,
        syncs: bool = False,
        identity: Identity = ANONYMOUS,
    ) -> Page:
        """Read the ops after `since`, or a snapshot. Counts as activity; `snapshot` doesn't.

        Args:
            gathering_id: Which gathering.
            since: The last seq that isn't wanted.
            at: What is read is as it was after this op, or at this instant (with a time zone): as
                if the log ended there.
            syncs: Whether to read which syncs they came from, too.
            identity: The identity of the reader.

        Returns:
            As many of the ops as fit into one message (`batch_bytes`). Where they end before
            `seq`, fetch again.

        Raises:
            BadBase: `since` or `at` lies beyond the end of the log, or what was then was left out.
            ValueError: `since` or `at` can't be one.

        Cancellation: nothing is read any more.
        """
        return await self._asking.fetch(gathering_id, since, at, identity, syncs=syncs)

    def presence(self, gathering_id: str) -> PresenceView:
        """Return who is in a gathering, of those who asked to be shown. Is no activity.

        Args:
            gathering_id: Which gathering.

        Returns:
            What its clients are shown, or will be shortly. Nobody, where it isn't open, or the hall
            has no `presence`.

        Raises:
            StoreUnavailable: It may be another node's by now.
        """
        check_gathering_id(gathering_id)
        presence = self._registry.presence
        return PresenceView() if presence is None else presence.view(gathering_id)

    # Ending.

    async def disperse(
        self, gathering_id: str, reason: DispersalReason = DispersalReason.ADMIN
    ) -> bool:
        """Disperse a gathering now, and wait until it is gone.

        What has arrived before is processed first.

        Args:
            gathering_id: The gathering's id.
            reason: What its clients are told.

        Returns:
            Whether it was there.

        Cancellation: it goes on dispersing.
        """
        check_gathering_id(gathering_id)
        reason = DispersalReason(reason)
        await trio.lowlevel.checkpoint_if_cancelled()
        was_there = await end(self._registry, gathering_id, reason)
        if not was_there:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return was_there

    async def evict(
        self, gathering_id: str, connections: Literal["keep", "close"] = "keep"
    ) -> bool:
        """Have a gathering fall asleep now, whether `sleep_after` is set or not; for tests.

        Its task and its state leave memory, as soon as all that has arrived is processed and
        everything is acknowledged that was forwarded. Its id, its deadline and its rules stay, and
        so does the incarnation: the next message restores it. It ends as exactly as if it were
        awake. This is no activity.

        Args:
            gathering_id: Which gathering.
            connections: Whether its clients' connections are kept, or closed before (1001).

        Returns:
            Whether it sleeps now. Not so if it isn't open, or ends meanwhile.

        Raises:
            ValueError: `connections` is something else.

        Cancellation: it falls asleep all the same.
        """
        check_gathering_id(gathering_id)
        if connections not in ("keep", "close"):
            raise ValueError(f"connections is 'keep' or 'close', not {connections!r:.80}")
        await trio.lowlevel.checkpoint_if_cancelled()
        sleeps = await put_to_sleep(
            self._registry, gathering_id, keeps_connections=connections == "keep"
        )
        await trio.lowlevel.cancel_shielded_checkpoint()
        return sleeps

    async def close(self) -> None:
        """Disperse everything with reason `shutdown`; take nothing more.

        What is still being processed after `close_grace` seconds is cancelled. Returns when all
        are gone; no client can delay that further. Later calls do the same.

        Cancellation: the closing goes on by itself, and waits for what is being processed.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        await close_all(self._registry, trio.current_time() + self.settings.close_grace)
        await trio.lowlevel.cancel_shielded_checkpoint()

    # Settings.

    def change_settings(self, **changes: Unpack[HallOptions]) -> None:
        """Change settings of the running hall.

        Gatherings that are opened from now on have them all. What is counted for all gatherings
        together changes at once: places for connections and gatherings, memory, how rights end. So
        does `max_ops`: clients that were told another one in `joined` are refused what is too much.
        The other settings of an open gathering stay until it ends. Nobody is put out where there
        are more already than may be.

        Args:
            **changes: Fields of `HallSettings`, by name. The others stay.

        Raises:
            BadSetting: A setting can't be what it is, or it is `when_full`, `max_remembered`,
                `authenticate_timeout` or `presence`, and another one than before. Nothing has
                changed.
        """
        settings = attrs.evolve(self.settings, **changes)
        for name in FIXED:
            if getattr(settings, name) != getattr(self.settings, name):
                raise BadSetting(f"{name} can't be changed while the hall is open")
        self.settings = settings
        self._registry.change_settings(settings)
        self._rights.terms.settings = settings

    # What counts as no activity.

    def gatherings(self) -> tuple[str, ...]:
        """Return the ids of the gatherings that are open now."""
        living = self._registry.living
        return tuple(
            name for name, one in living.items() if isinstance(one, Sleeper) or one.room.accepting
        )

    def snapshot(self) -> HallNumbers:
        """Return the numbers of the hall and of every open gathering."""
        events = None if self._events is None else self._events.numbers()
        return numbers_of(self._registry, events)
