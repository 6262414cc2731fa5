"""Renewal: a client's rights that end, and the tokens by which it renews them while connected."""

import logging
import math
import secrets
from collections.abc import Awaitable, Callable

import outcome
import trio
from attrs import define, field
from tenacity import AsyncRetrying, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from squire_gatherings._client.answers import PASSING, Answer, error_from
from squire_gatherings._client.credentials import TokenReason
from squire_gatherings._client.settings import ClientSettings
from squire_gatherings._values.errors import GatheringsError
from squire_gatherings._values.messages import Error, Refresh, Refreshed

_log = logging.getLogger(__name__)

GRACE = 1.0
"""A connection may be closed so many seconds before its rights end by our clock, since the server's
clock isn't ours. It counts as closed because they ended."""

LEAST_PAUSE = 1.0
"""So many seconds pass between two renewals, at least."""

AskForToken = Callable[[TokenReason], Awaitable[str | None]]


class _Again(Exception):
    """A renewal has failed in a way that passes."""


@define(eq=False)
class Renewal:
    """When this client's rights end, and whether it is to renew them."""

    ends_at: float = math.inf
    """When they end, by Trio's clock."""
    request: Refresh | None = None
    """The request that goes out next."""
    _asked_with: str | None = None
    """The id of the request that isn't answered."""
    _answer: Answer[Refreshed] = field(factory=lambda: Answer[Refreshed]())
    _wanted: trio.Event = field(factory=trio.Event)
    """Set when the server wants to have them renewed."""

    # What the server says.

    def begin(self, expire_in: object) -> None:
        """There is a new connection; the rights end in so many seconds, if they end."""
        self._forget()
        self._wanted = trio.Event()
        self._end_in(expire_in)

    def lost(self) -> None:
        """The connection has ended. What was asked on it isn't answered any more."""
        self._forget()

    def want(self) -> None:
        """The server asks for a renewal, or refuses what comes without one."""
        self._wanted.set()

    def told(self, message: Refreshed) -> None:
        """The server says until when we have our rights now."""
        self._end_in(message.rights_expire_in)
        if message.id == self._asked_with and self._asked_with is not None:
            self._asked_with = None
            self._answer.give(outcome.Value(message))

    def failed(self, error: Error) -> bool:
        """The server says that something has failed. Return whether it was a renewal."""
        if error.id is None or error.id != self._asked_with:
            return False
        self._asked_with = None
        self._answer.give(outcome.Error(error_from(error.code, error.message)))
        return True

    @property
    def has_ended(self) -> bool:
        """Whether the rights have ended by now, or are just about to."""
        return trio.current_time() >= self.ends_at - GRACE

    def next(self) -> Refresh | None:
        """Return what goes out now, once."""
        request, self.request = self.request, None
        return request

    def _end_in(self, seconds: object) -> None:
        left = seconds if isinstance(seconds, int | float) else math.inf
        self.ends_at = trio.current_time() + left

    def _forget(self) -> None:
        self.request = self._asked_with = None

    # The task that renews them.

    async def run(
        self, ask: AskForToken, settings: ClientSettings, send: Callable[[], None]
    ) -> None:
        """Renew the rights of this connection whenever that is due, until cancelled.

        Raises the `GatheringsError` that the program raises when it is asked for a token.
        """
        while True:
            with trio.move_on_at(self.ends_at):
                await self._wanted.wait()
            self._wanted = trio.Event()
            if await self._renew(ask, settings, send):
                # Whatever the server says, the program isn't asked for tokens all the time.
                await trio.sleep(LEAST_PAUSE)
                self._wanted = trio.Event()
                continue
            if self.has_ended:
                # The server closes the connection, and the next join brings another token.
                await trio.sleep_forever()
            await trio.sleep_until(self.ends_at)

    async def _renew(
        self, ask: AskForToken, settings: ClientSettings, send: Callable[[], None]
    ) -> bool:
        """Renew them, however often that takes; return whether they are renewed."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_Again),
            wait=wait_random_exponential(multiplier=settings.first_pause, max=settings.max_pause),
            sleep=trio.sleep,
        )
        return await retrying(self._try, ask, send)

    async def _try(self, ask: AskForToken, send: Callable[[], None]) -> bool:
        why = TokenReason.EXPIRED if self.has_ended else TokenReason.RENEW
        try:
            token = await ask(why)
        except GatheringsError:
            raise
        except Exception as error:
            _log.info("there is no new token: %s", type(error).__name__)
            raise _Again from error
        if token is None:
            return False
        self._asked_with = secrets.token_hex(8)
        self._answer = Answer[Refreshed]()
        self.request = Refresh(self._asked_with, token)
        send()
        try:
            await self._answer.wait()
        except GatheringsError as error:
            if error.code in PASSING or type(error) is GatheringsError:
                raise _Again from error
            _log.warning("the new token isn't taken: %s", error)
            return False
        return True
