"""The session: keeps a client in one gathering, through lost connections and dispersals."""

import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio
from attrs import define
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from squire_gatherings.edges.client.address import Address, OpenStream
from squire_gatherings.edges.client.answers import error_from
from squire_gatherings.edges.client.exchange import Exchange
from squire_gatherings.edges.client.settings import ClientSettings
from squire_gatherings.edges.client.websocket import Lost
from squire_gatherings.edges.client.wire import Incoming, Wire, open_wire
from squire_gatherings.rules.replica import Diverged, Gap
from squire_gatherings.values.endings import CloseCode, DispersalReason
from squire_gatherings.values.errors import (
    CannotConnect,
    GatheringCrashed,
    GatheringsError,
    HallClosed,
    Left,
    Replaced,
    StoreUnavailable,
    Unauthorized,
)
from squire_gatherings.values.messages import Dispersed, Error, Join, Joined

_log = logging.getLogger(__name__)

_SLEEPS = (DispersalReason.IDLE, DispersalReason.EMPTY, DispersalReason.ADMIN)
"""After these nothing is wrong: the gathering is left alone until there's something to do."""

_PASSING = {StoreUnavailable.code, HallClosed.code, GatheringCrashed.code, "rate_limited"}
"""Why a join may fail now and succeed later."""


@define(eq=False)
class Session:
    """One client in one gathering. `run` drives it."""

    address: Address
    gathering_id: str
    client_id: str
    token: str | None
    settings: ClientSettings
    open_stream: OpenStream
    exchange: Exchange
    asleep: bool = False
    """Whether the gathering dispersed and is left alone."""
    _began: bool = False
    _joined_at: float = math.inf
    _outage_since: float | None = None
    _lost: Lost | None = None
    """A loss after which the pauses are short again, but not left out."""
    _moved: bool = False

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Join, `task_status.started()`, and stay, until cancelled or for good.

        Raises why the first join failed, and afterwards only what a behaviour raises: why
        it ended for good is `exchange.failure`.
        """
        self._outage_since = trio.current_time()
        try:
            while True:
                # Nothing but a pause that grows: who waited has everything afterwards.
                retrying = AsyncRetrying(
                    retry=retry_if_exception_type(Lost),
                    wait=wait_random_exponential(
                        multiplier=self.settings.first_pause, max=self.settings.max_pause
                    ),
                    stop=self._is_hopeless,
                    sleep=trio.sleep,
                    reraise=True,
                )
                await retrying(self._stay, task_status)
        except (GatheringsError, Lost) as error:
            failure = error if isinstance(error, GatheringsError) else CannotConnect(str(error))
            if not self._began:
                raise failure from None
            _log.warning("gathering lost: %s", failure, extra=self._names())
            self.exchange.fail(failure)
        finally:
            self.exchange.fail(Left(f"{self.gathering_id} was left"))

    def _is_hopeless(self, _: RetryCallState) -> bool:
        patience = self.settings.patience if self._began else self.settings.join_patience
        if patience is None or self._outage_since is None:
            return False
        return trio.current_time() - self._outage_since >= patience

    async def _stay(self, task_status: trio.TaskStatus[None]) -> None:
        """Be connected once, and asleep if it ends so. Raises `Lost` where a pause is due."""
        if self._lost is not None:
            lost, self._lost = self._lost, None
            raise lost
        ending: Dispersed | Lost
        try:
            ending = await self._connect(task_status)
        except Lost as error:
            ending = error
        finally:
            if self.exchange.connected:
                self._outage_since = trio.current_time()
            self.exchange.lost()
        if isinstance(ending, Dispersed) and ending.reason in _SLEEPS:
            await self._sleep(ending)
        elif isinstance(ending, Dispersed) and self._moves_now(ending):
            self._moved = True
        else:
            self._give_up(ending)

    def _moves_now(self, notice: Dispersed) -> bool:
        if self.exchange.progressed:
            self._moved = False
        return notice.reason == DispersalReason.MOVED and not self._moved

    async def _sleep(self, notice: Dispersed) -> None:
        exchange = self.exchange
        exchange.replica.changes.end(notice)
        exchange.wanted = trio.Event()
        self.asleep = not exchange.is_waiting
        exchange.tell()
        if self.asleep:
            await exchange.wanted.wait()
            self.asleep = False
        self._outage_since = trio.current_time()

    def _give_up(self, ending: Dispersed | Lost) -> None:
        """Raise why the session is over, or after which loss to pause; or note that loss."""
        lost = ending
        if isinstance(lost, Dispersed):
            lost = Lost(f"the gathering ended: {lost.reason}")
        elif lost.code == CloseCode.REPLACED:
            raise Replaced("a newer connection of the same client took its place")
        elif lost.code == CloseCode.UNAUTHORIZED:
            raise Unauthorized(str(lost))
        _log.info("connection lost: %s", lost, extra=self._names())
        steady = trio.current_time() - self._joined_at >= self.settings.max_pause
        if not self._began or not (steady or self.exchange.progressed):
            raise lost
        self.exchange.progressed = False
        self._joined_at = math.inf
        self._lost = lost

    async def _connect(self, task_status: trio.TaskStatus[None]) -> Dispersed:
        timeout = self.settings.connect_timeout
        with trio.move_on_after(timeout) as scope:
            async with open_wire(
                self.address, self.gathering_id, self.settings, self.open_stream
            ) as wire:
                since = self.exchange.replica.seq or None
                await wire.send(Join(self.token, since, self.client_id))
                joined = _check_joined(await wire.receive())
                scope.deadline = math.inf
                self._understand(lambda: self.exchange.joined(joined, since or 0))
                self._joined_at = trio.current_time()
                self._outage_since = None
                if not self._began:
                    self._began = True
                    task_status.started()
                return await self._converse(wire)
        raise Lost(f"{self.address} didn't let us in within {timeout:g} s")

    def _understand(self, take: Callable[[], None]) -> None:
        try:
            take()
        except Gap as gap:
            raise Lost(str(gap)) from None
        except Diverged as diverged:
            _log.warning("begins again: %s", diverged, extra=self._names())
            self.exchange.replica.start_over()
            raise Lost(str(diverged)) from None

    async def _converse(self, wire: Wire) -> Dispersed:
        endings: list[Dispersed | Lost] = []
        async with trio.open_nursery() as nursery:

            async def until_it_ends(part: Callable[[Wire], Awaitable[Dispersed]]) -> None:
                try:
                    endings.append(await part(wire))
                except Lost as lost:
                    endings.append(lost)
                nursery.cancel_scope.cancel()

            async def send_all() -> None:
                # Lost for sending isn't the end: what the server said last may still be read.
                with suppress(Lost):
                    await self.exchange.send_all(wire)

            nursery.start_soon(until_it_ends, self._receive_all)
            nursery.start_soon(until_it_ends, self._keep_alive)
            nursery.start_soon(send_all)
        [ending, *_] = endings
        if isinstance(ending, Lost):
            raise ending
        return ending

    async def _receive_all(self, wire: Wire) -> Dispersed:
        while True:
            message = await wire.receive()
            if isinstance(message, Dispersed):
                return message
            self._understand(lambda: self.exchange.take(message))  # noqa: B023 (called at once)

    async def _keep_alive(self, wire: Wire) -> Dispersed:
        interval = self.settings.ping_interval
        while True:
            await trio.sleep(interval)
            with trio.move_on_after(interval) as scope:
                await wire.ping()
            if scope.cancelled_caught:
                raise Lost(f"the server didn't answer a ping within {interval:g} s")

    def _names(self) -> dict[str, object]:
        return {"gathering": self.gathering_id}


def _check_joined(message: Incoming) -> Joined:
    if isinstance(message, Joined):
        return message
    if not isinstance(message, Error):
        raise Lost(f"the server answered the join with {type(message).__name__}")
    if message.code in _PASSING or message.code == GatheringsError.code:
        raise Lost(message.message)
    raise error_from(message.code, message.message)
