"""The webhook: posts lifecycle events to a URL, and says what came of it."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
import trio

from squire_gatherings._values.errors import BadSetting, Undelivered
from squire_gatherings._values.events import LifecycleEvent
from squire_gatherings._webhook.signing import Signer

if TYPE_CHECKING:
    from squire_gatherings._webhook.posting import Poster

EXTRA = {"httpx", "httpcore", "anyio", "h11", "certifi", "idna", "sniffio"}
MISSING = "a webhook needs httpx: pip install 'squire-gatherings[webhook]'"

TYPE = "gatherings.events"
"""The `type` of what is posted."""

TIMEOUT = 20.0
"""How many seconds a receiver has to answer."""

GONE = 60 * 60.0
"""How many seconds pass after the answer 410, by which a receiver says that it wants no more."""

LONGEST_PAUSE = 60 * 60.0
"""How many seconds a receiver may ask us to wait (`Retry-After`)."""


class Webhook:
    """Posts lifecycle events to a URL: `open_hall(on_event=Webhook(url, [secret]))`.

    Each request is a JSON object with as many events as wait, up to 100, in their order. It is
    signed as the specification Standard Webhooks has it. Any answer of 2xx says that they were
    taken; after any other the same are posted again later. See docs/events.md.
    """

    def __init__(
        self,
        url: str,
        secrets: Iterable[str],
        *,
        timeout: float = TIMEOUT,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Make a webhook; nothing is sent yet.

        Args:
            url: Where to: http or https, without a user or a password.
            secrets: What to sign with: each is `whsec_` and 24 to 64 bytes in base64. Several sign
                side by side, so that one can take another's place.
            timeout: How many seconds the receiver has to answer.
            wall_clock: Returns the time of day, as seconds since 1970 (UTC).

        Raises:
            BadSetting: The URL or a secret can't be one, or `httpx` isn't installed.
        """
        if not 0 < timeout < math.inf:
            raise BadSetting(f"timeout must be a number above 0, not {timeout!r}")
        _check_url(url)
        self.change_secrets(secrets)
        self._url = url
        self._timeout = timeout
        self._wall = wall_clock
        self._make_poster = _posters()
        self._poster: Poster | None = None

    def __repr__(self) -> str:
        # What comes after the host may be a secret.
        return f"Webhook({self.receiver!r})"

    @property
    def receiver(self) -> str:
        """The receiver's scheme, host and port."""
        parts = urlsplit(self._url)
        return f"{parts.scheme}://{parts.netloc}"

    def change_secrets(self, secrets: Iterable[str]) -> None:
        """Sign with other secrets from now on. Raises `BadSetting`, and then changes nothing."""
        if isinstance(secrets, str | bytes):
            raise BadSetting("secrets are several")
        self._signer = Signer.of(secrets)

    async def deliver(self, events: Sequence[LifecycleEvent]) -> int:
        """Post these events; return how many they are.

        Raises:
            Undelivered: The receiver hasn't taken them.

        Cancellation: they may or may not have been taken.
        """
        body = encode(events)
        headers = self._signer.headers(message_id_of(events), int(self._wall()), body)
        if self._poster is None:
            self._poster = self._make_poster(self._url)
        try:
            status, retry_after = await self._poster.post(body, headers, self._timeout)
        except Undelivered as error:
            raise Undelivered(f"{self.receiver}: {error}") from None
        if not 200 <= status < 300:
            pause = min(_seconds(retry_after, self._wall()), LONGEST_PAUSE)
            if status == HTTPStatus.GONE:
                pause = max(pause, GONE)
            raise Undelivered(f"{self.receiver} answered {_said(status)}", pause)
        return len(events)

    async def aclose(self) -> None:
        """Close the connection to the receiver.

        Cancellation: it is closed all the same.
        """
        poster, self._poster = self._poster, None
        if poster is None:
            await trio.lowlevel.checkpoint()
        else:
            await poster.aclose()


def encode(events: Sequence[LifecycleEvent]) -> bytes:
    """Return what is posted, as JSON: for the same events always the same."""
    last = datetime.fromtimestamp(events[-1].time / 1000, UTC)
    return msgspec.json.encode(
        {
            "type": TYPE,
            "timestamp": last.isoformat(timespec="milliseconds"),
            "data": {"events": events},
        }
    )


def message_id_of(events: Sequence[LifecycleEvent]) -> str:
    """Return the id of a message with these events, and of no other."""
    return f"{events[0].id}_{len(events)}"


def _said(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _seconds(retry_after: str, now: float) -> float:
    """Return how many seconds a `Retry-After` asks for; 0 if it can't be read."""
    text = retry_after.strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return 0.0


def _check_url(url: str) -> None:
    """Raise `BadSetting` if nothing can be posted to a URL. Nothing of it is repeated."""
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        has_user = "@" in parts.netloc
    except (ValueError, AttributeError, TypeError):
        is_one = has_user = False
    if not is_one or not url.isascii() or not url.isprintable() or " " in url:
        raise BadSetting("a webhook's URL is http://HOST/… or https://HOST/…")
    if has_user:
        raise BadSetting("a webhook's URL has no user and no password: requests are signed")


def _posters() -> "type[Poster]":
    try:
        from squire_gatherings._webhook.posting import Poster
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        raise BadSetting(MISSING) from None
    return Poster
