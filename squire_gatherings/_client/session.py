"""The session: keeps a client in one gathering, through lost connections and dispersals."""

import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import trio
from attrs import define
from msgspec import UNSET
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from squire_gatherings._client.address import Address, OpenStream
from squire_gatherings._client.answers import PASSING, RATE_LIMITED, error_from
from squire_gatherings._client.contradictions import check_notice
from squire_gatherings._client.credentials import Credentials
from squire_gatherings._client.endings import COMES_BACK
from squire_gatherings._client.exchange import Exchange
from squire_gatherings._client.incoming import Incoming
from squire_gatherings._client.patience import LATE
from squire_gatherings._client.redirects import Redirects
from squire_gatherings._client.settings import ClientSettings
from squire_gatherings._client.websocket import Lost
from squire_gatherings._client.wire import Untrusted, Wire
from squire_gatherings._hall.lateness import is_late
from squire_gatherings._rules.replica import Diverged, Gap
from squire_gatherings._values.endings import CloseCode, DispersalReason
from squire_gatherings._values.errors import (
    BadBase,
    CannotConnect,
    GatheringsError,
    Left,
    LogReplaced,
    Replaced,
    Unauthorized,
)
from squire_gatherings._values.messages import (
    Dispersed,
    Error,
    Join,
    Joined,
)

_log = logging.getLogger(__name__)

T = TypeVar("T")

_ANOTHER_LOG = {LogReplaced.code, BadBase.code}
"""Why a join that says what the client has may fail for good."""

_OWN_GHOSTS = 60.0
"""How many seconds a join of ours that was given up may still take our place."""


@define(eq=False)
class Session:
    """One client in one gathering. `run` drives it."""

    address: Address
    gathering_id: str
    client_id: str
    credentials: Credentials
    settings: ClientSettings
    open_stream: OpenStream
    exchange: Exchange
    redirects: Redirects
    asleep: bool = False
    """Whether the gathering dispersed and is left alone."""
    _began: bool = False
    _joined_at: float = math.inf
    _outage_since: float | None = None
    _lost: Lost | None = None
    """A loss after which the pauses are short again, but not left out."""
    _hurried: bool = False
    """Whether we came back at once, the last time."""
    _resume: str | None = None
    """The incarnation to which a join by ourselves comes back."""
    _latest: Lost | None = None
    """Why the last attempt failed."""
    _given_up_at: float = -math.inf
    """When a join of ours was given up that the server may still process."""

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
                    sleep=self._pause,
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

    @property
    def _patient_until(self) -> float:
        patience = self.settings.patience if self._began else self.settings.join_patience
        if patience is None or self._outage_since is None:
            return math.inf
        return self._outage_since + patience

    def _is_hopeless(self, _: RetryCallState) -> bool:
        return trio.current_time() >= self._patient_until

    async def _pause(self, seconds: float) -> None:
        due = min(trio.current_time() + seconds, self._patient_until)
        await trio.sleep_until(due)
        if is_late(due, LATE):
            self._excuse(due)

    async def _stay(self, task_status: trio.TaskStatus[None]) -> None:
        """Be connected once, and asleep if it ends so. Raises `Lost` where a pause is due."""
        if self._lost is not None:
            lost, self._lost = self._lost, None
            raise lost
        if self._latest is not None and trio.current_time() >= self._patient_until:
            raise self._latest
        ending: Dispersed | Lost
        code: int | None = None
        try:
            ending = await self._connect(task_status)
        except Lost as error:
            ending = error
            code = error.code
        finally:
            if self.exchange.connected:
                self._outage_since = trio.current_time()
            self.exchange.lost(code)
        at_once = _says_moved(ending)
        if isinstance(ending, Dispersed) and ending.reason not in COMES_BACK:
            if await self._sleep(ending):
                return
            at_once = True
        if not (at_once and self._may_hurry()):
            self._give_up(ending)

    def _may_hurry(self) -> bool:
        """Whether to come back at once: not twice for nothing, or it'd be a storm."""
        if self.exchange.progressed:
            self._hurried = False
        hurried, self._hurried = self._hurried, True
        return not hurried

    async def _sleep(self, notice: Dispersed) -> bool:
        """Leave the gathering alone until somebody asks; False if somebody does already."""
        exchange = self.exchange
        exchange.replica.changes.end(notice)
        exchange.wanted = trio.Event()
        self._resume = None
        self.asleep = not exchange.is_waiting
        exchange.tell()
        slept = self.asleep
        if slept:
            await exchange.wanted.wait()
            self.asleep = self._hurried = False
        self._outage_since = trio.current_time()
        return slept

    def _give_up(self, ending: Dispersed | Lost) -> None:
        """Raise why the session is over, or after which loss to pause; or note that loss."""
        lost = ending
        if isinstance(lost, Dispersed):
            lost = Lost(f"the gathering ended: {lost.reason}")
        elif isinstance(lost, Untrusted) and not self._began:
            raise CannotConnect(str(lost))
        elif lost.code == CloseCode.REPLACED:
            self._check_replaced()
        elif lost.code == CloseCode.UNAUTHORIZED:
            # Rights that have ended may be had anew, with another token.
            was_in = self._joined_at < math.inf
            if not (was_in and self.exchange.renewal.has_ended and self.credentials.renews):
                raise Unauthorized(str(lost))
        elif lost.code == CloseCode.LOG_REPLACED and self.exchange.has_anything:
            self._begin_anew(lost)
        _log.info("connection lost: %s", lost, extra=self._names())
        self._latest = lost
        steady = trio.current_time() - self._joined_at >= self.settings.max_pause
        good = steady or (self.exchange.progressed and lost.code != CloseCode.RATE_LIMIT)
        self.exchange.progressed = False
        self._joined_at = math.inf
        if not self._began or not good:
            raise lost
        self._lost = lost

    def _check_replaced(self) -> None:
        """Raise `Replaced`, unless it may have been an earlier attempt of ours."""
        if trio.current_time() - self._given_up_at > _OWN_GHOSTS:
            raise Replaced("a newer connection of the same client took its place")
        self._given_up_at = -math.inf

    def _begin_anew(self, lost: Lost) -> None:
        if not self._began:
            raise LogReplaced(str(lost))
        why = LogReplaced(f"the log of {self.gathering_id} isn't the one that we know: {lost}")
        _log.warning("begins again: %s", why, extra=self._names())
        self.exchange.replaced(why)

    async def _connect(self, task_status: trio.TaskStatus[None]) -> Dispersed:
        while True:
            began = trio.current_time()
            # The first of one attempt is made, however short the patience.
            until = self._patient_until if self._began or self.settings.join_patience else math.inf
            due = min(began + self.settings.connect_timeout, until)
            is_open = False
            with trio.move_on_at(due) as scope:
                headers = await self._ask(self.credentials.ask_for_headers)
                async with self.redirects.open_wire(
                    self.address, self.gathering_id, headers, self.settings, self.open_stream
                ) as wire:
                    token = await self._ask(self.credentials.ask_for_token)
                    scope.deadline, is_open = math.inf, True
                    return await self._join(wire, token, until, task_status)
            if not is_late(due, LATE):
                break
            # We were held up, not the server: this attempt says nothing, and counts for nothing.
            self._excuse(began)
        hint = " (does it speak TLS there?)" if self.address.secure and not is_open else ""
        timeout = self.settings.connect_timeout
        raise Lost(f"{self.address} didn't let us in within {timeout:g} s{hint}")

    def _excuse(self, since: float) -> None:
        """The time from then until now is no outage of the server's."""
        if self._outage_since is not None:
            self._outage_since += trio.current_time() - since

    async def _join(
        self, wire: Wire, token: str | None, until: float, task_status: trio.TaskStatus[None]
    ) -> Dispersed:
        message, since = await self._ask_to_be_let_in(wire, token, until)
        if isinstance(message, Dispersed):
            # It's told once: a client that comes back after that comes to the next incarnation.
            self._resume = None
            return check_notice(message, self.gathering_id)
        self._understand(lambda: self.exchange.joined(message, since))
        self._joined_at = trio.current_time()
        self._outage_since = self._latest = None
        self._resume = message.incarnation
        if not self._began:
            self._began = True
            task_status.started()
        return await self._converse(wire)

    async def _ask_to_be_let_in(
        self, wire: Wire, token: str | None, until: float
    ) -> tuple[Joined | Dispersed, int]:
        """Join; return the answer, and the seq up to which we have everything."""
        exchange = self.exchange
        since = exchange.replica.seq
        epoch = (exchange.replica.epoch or None) if since else None
        resume = None if exchange.is_waiting else self._resume
        wish = exchange.presence.wish()
        join = Join(
            token=token,
            since=since or None,
            client=self.client_id,
            epoch=epoch,
            resume=resume,
            tail=exchange.wants_tail,
            times=exchange.times,
            syncs=exchange.syncs,
            proof=True,
            known=exchange.known if since else None,
            presence=UNSET if wish is None else wish,
        )
        timeout = self.settings.connect_timeout
        message: Incoming | None = None
        ghost = self._given_up_at
        self._given_up_at = trio.current_time()
        try:
            with wire.patience.wait(timeout, until) as wait:
                await wire.send(join)
                message = await wire.receive()
            while message is None and is_late(wait.deadline, LATE):
                # We were held up, not the server: what it said meanwhile comes first.
                with wire.patience.wait(timeout) as wait:
                    message = await wire.receive()
        except Lost as lost:
            if lost.code is not None:
                # It was answered: it's over.
                self._given_up_at = ghost
            raise
        if message is None:
            raise Lost(f"{self.address} didn't let us in within {timeout:g} s")
        self._given_up_at = ghost
        if isinstance(message, Joined) or (isinstance(message, Dispersed) and resume):
            return message, since
        raise self._refused(message, since)

    def _refused(self, message: Incoming, since: int) -> Exception:
        if not isinstance(message, Error):
            return Lost(f"the server answered the join with {type(message).__name__}")
        if message.code in _ANOTHER_LOG and self._began and since:
            return Lost(message.message, CloseCode.LOG_REPLACED)
        if message.code == RATE_LIMITED:
            return Lost(message.message, CloseCode.RATE_LIMIT)
        if message.code in PASSING or message.code == GatheringsError.code:
            return Lost(message.message)
        return error_from(message.code, message.message)

    async def _ask(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the program for a credential. What it raises is a pause, but at the first join."""
        try:
            return await ask()
        except GatheringsError:
            raise
        except Exception as error:
            if not self._began:
                raise
            raise Lost(f"there are no credentials: {type(error).__name__}: {error}") from error

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
        endings: list[Dispersed | Lost | GatheringsError] = []
        async with trio.open_nursery() as nursery:

            async def until_it_ends(part: Callable[[Wire], Awaitable[Dispersed]]) -> None:
                try:
                    endings.append(await part(wire))
                except Lost as lost:
                    endings.append(lost)
                nursery.cancel_scope.cancel()

            async def renew() -> None:
                exchange, ask = self.exchange, self.credentials.ask_for_token
                try:
                    await exchange.renewal.run(ask, self.settings, exchange.send_soon)
                except GatheringsError as error:
                    endings.append(error)
                    nursery.cancel_scope.cancel()

            async def send_all() -> None:
                # Lost for sending isn't the end: what the server said last may still be read.
                with suppress(Lost):
                    await self.exchange.send_all(wire)

            nursery.start_soon(until_it_ends, self._receive_all)
            nursery.start_soon(until_it_ends, self._keep_alive)
            nursery.start_soon(send_all)
            if self.credentials.renews:
                nursery.start_soon(renew)
        [ending, *_] = endings
        if not isinstance(ending, Dispersed):
            raise ending
        return ending

    async def _receive_all(self, wire: Wire) -> Dispersed:
        while True:
            message = await wire.receive()
            if isinstance(message, Dispersed):
                return check_notice(message, self.gathering_id)
            self._understand(lambda: self.exchange.take(message))  # noqa: B023 (called at once)

    async def _keep_alive(self, wire: Wire) -> Dispersed:
        interval = self.settings.ping_interval
        while True:
            await trio.sleep(interval)
            await wire.ping(interval)

    def _names(self) -> dict[str, object]:
        return {"gathering": self.gathering_id}


def _says_moved(ending: Dispersed | Lost) -> bool:
    """Whether the gathering goes on elsewhere: it has ended so, or is the same there."""
    if isinstance(ending, Dispersed):
        return ending.reason == DispersalReason.MOVED
    return ending.code == CloseCode.MOVED
