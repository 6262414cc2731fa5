"""The half of a WebSocket that receives: what has come goes into the gathering without waiting."""

import trio

from squire_gatherings._hall.membership import Membership
from squire_gatherings._rules.refusals import Limit
from squire_gatherings._server.framing import TURN
from squire_gatherings._server.inbound import Complaint, Inbound
from squire_gatherings._server.limits import Meter
from squire_gatherings._server.sending import Sending
from squire_gatherings._server.settings import ServerSettings
from squire_gatherings._server.silence import Silence
from squire_gatherings._server.sources import RECEIVE_SIZE, Source
from squire_gatherings._values.errors import TooBig
from squire_gatherings._values.messages import ClientMessage, Join
from squire_gatherings._wire.codecs import Codec, Incoming

MOST_TURNS = 8
"""How many turns' worth of frames `read_arrived` takes in at once, and of bytes one large message.
A client that waits to be heard doesn't send more than that."""


class Receiving(Sending):
    """The half of a connection that receives. A subclass joins, and has the task that waits."""

    __slots__ = (
        "_client_closed",
        "_ended",
        "_held_up",
        "_membership",
        "_quiet_until",
        "_silence",
        "_source",
        "_waiting",
    )

    def __init__(
        self,
        codec: Codec,
        settings: ServerSettings,
        source: Source,
        meter: Meter,
        scope: trio.CancelScope,
    ) -> None:
        inbound = Inbound(codec, settings, meter)
        super().__init__(codec, settings, inbound, meter, scope)
        self._source = source
        self._silence = Silence()
        self._membership: Membership | None = None
        """None until the client has joined."""
        self._waiting: Incoming | None = None
        """A message for which the task must do something: the first, or one that must wait."""
        self._held_up = False
        """Whether something keeps the task from reading, so that nothing can be heard."""
        self._quiet_until = 0.0
        """When reading begins again, where too much came that says nothing; else 0."""
        self._ended = False
        """Whether there's nothing more to read."""
        self._client_closed = False
        """Whether the client's close frame has come. It still gets what is queued, and no more."""

    def _begin_closing(self) -> None:
        self._closing = True
        # Thousands may answer at once that are told to go, and each answer ends a connection. The
        # client has as much time as ever from when we listen to it.
        self._source.put_behind(self._limit_closing)

    # What a gathering asks of it.

    def read_arrived(self) -> bool:
        """Take in what lies in the socket, as far as the gathering takes it.

        It takes a part of a flood only. It takes nothing where the stream isn't a plain socket,
        before the join is over, and while a message waits to be delivered. Safe at any moment;
        doesn't wait.

        Returns:
            Whether there may be more.
        """
        if self._closing or self._ended or self._held_up or self._waiting is not None:
            return False
        if self._membership is not None and not self._quiet_until:
            return self._take_all()
        return False

    @property
    def receiving(self) -> int:
        """See `Connection`."""
        return 0 if self._closing or self._ended else self._inbound.begun

    def wasted(self, cost: int) -> None:
        """See `Connection`."""
        self._inbound.noise += cost
        self._inbound.unsettled = True

    # The way of a message.

    def _take(self, data: bytes) -> bool:
        """Take in what has come; return whether more is wanted."""
        if not data:
            self._ended = True
            self._fall_silent()
            if self._held_up:
                # Its task does something else. One that reads ends by itself, at less cost.
                self._scope.cancel()
            return False
        self._silence.heard = True
        self._inbound.feed(data)
        return self._process()

    def _process(self) -> bool:
        """Deliver what is there, as far as it can be; return whether more is wanted."""
        if self._waiting is not None:
            return False
        inbound = self._inbound
        while (arrival := inbound.next()) is not None:
            if isinstance(arrival, ClientMessage):
                if not self._deliver(arrival):
                    self._waiting = arrival
                    break
            elif isinstance(arrival, Complaint):
                self._complain(arrival)
            else:
                self._closed_by_client()
        if inbound.unsettled:
            return self._settle()
        return self._waiting is None and not self._ended

    def _deliver(self, message: Incoming) -> bool:
        """Put a message into the gathering's inbox; False if the task must do something."""
        if self._membership is None:
            # At once, and not when the task gets its turn: it isn't silent any more.
            self.meter.heard()
            return False
        if isinstance(message, Join):
            self._error("already_joined", "this connection has joined already")
            self.wasted(2)
            return True
        try:
            if not self._membership.take_nowait(message):
                self._inbound.deaf = True
        except trio.WouldBlock:
            return False
        return True

    # Everything else that comes.

    def _take_all(self) -> bool:
        """Take in what lies in the socket, and what of it was left for later.

        Returns whether there was too much of it for one turn.
        """
        wanted = self._process()
        turns, room = MOST_TURNS, self._settings.max_message_size + RECEIVE_SIZE
        while True:
            has_more = not wanted and not self._is_stopped() and self._inbound.room < 0
            if has_more and turns:
                turns -= 1
                self._inbound.room = TURN
                wanted = self._process()
                continue
            if not wanted:
                # The task that reads has another thing to do.
                self._source.stop()
                return has_more
            data = self._source.receive_nowait() if room > 0 else None
            if data is None:
                return room <= 0
            room -= len(data)
            wanted = self._take(data)

    def _settle(self) -> bool:
        """Reply to control frames, and count what they cost; return whether more is wanted."""
        inbound = self._inbound
        self._reply()
        if inbound.spent:
            self._source.spend(inbound.spent)
            inbound.spent = 0
        if inbound.noise:
            now = trio.current_time()
            wait = self.meter.noise(inbound.noise, now)
            inbound.noise = 0
            if wait:
                self._quiet_until = now + wait
        if inbound.broken:
            self._ended = True
        return inbound.room >= 0 and not self._is_stopped()

    def _is_stopped(self) -> bool:
        """Whether the task has something to do before more is read."""
        if self._ended or self._waiting is not None:
            return True
        return bool(self._quiet_until)

    def _complain(self, complaint: Complaint) -> None:
        if complaint.code is not None:
            self._error(complaint.code, complaint.text, complaint.request_id)
            if complaint.code == TooBig.code:
                self.meter.enforced(Limit.TOO_BIG, complaint.text)
        if complaint.close_code is not None:
            self.close(complaint.close_code, complaint.text)

    def _closed_by_client(self) -> None:
        """Take the client's close frame as the answer to ours, or let it be answered."""
        # What is still queued may hold our close frame, even if the client was first. The server
        # closes the TCP connection first (RFC 6455, section 7.1.1).
        self._closing = self._client_closed = self._ended = True
