"""The entry: what is known of a client that wants to join, and the join that is made of it."""

import trio
from attrs import field, frozen

from squire_gatherings._hall.connection import Connection
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.membership import Membership
from squire_gatherings._hall.reports import JoinReport
from squire_gatherings._server.limits import Meter
from squire_gatherings._values.handover import RequestState
from squire_gatherings._values.handshake import HandshakeRequest
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.messages import Join
from squire_gatherings._values.op import Op


@frozen(eq=False)
class Entry:
    """Which gathering a client wants to join, by which request, and who it is, where known."""

    hall: Hall = field(repr=False)
    gathering_id: str
    meter: Meter = field(repr=False)
    """What the client may send. It is told who the client is."""
    request: HandshakeRequest | None = None
    identity: Identity | None = None
    """Who the client is, as the program says. If None, the hall's `authenticate` is asked."""

    def state(self) -> RequestState | None:
        """Return what another process must know of it; None where the program knows more."""
        request = self.request
        if request is None or self.identity is not None:
            return None
        return RequestState(
            self.gathering_id, request.path, request.headers, request.peer, request.subprotocols
        )

    async def join(self, connection: Connection, join: Join) -> Membership:
        """Join as the client's message says.

        Raises:
            Full: There's no place for one more client.
            Exception: What `Hall.join` raises.

        Cancellation: as of `Hall.join`.
        """
        with JoinReport(self.meter.quotas, self.gathering_id, self.meter.peer):
            self.meter.come_in()
        membership = await self.hall.join(
            self.gathering_id,
            connection,
            since=join.since,
            epoch=join.epoch,
            client=join.client,
            resume=join.resume,
            token=join.token,
            request=self.request,
            identity=self.identity,
            tail=join.tail,
            times=join.times,
            syncs=join.syncs,
            proof=join.proof,
            known=join.known,
            presence=join.presence if isinstance(join.presence, Op) else None,
        )
        self.meter.identified(membership.identity.user, trio.current_time())
        return membership
