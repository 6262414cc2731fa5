"""The HTTP requests of a webhook. It alone needs the extra `webhook`."""

from ssl import PROTOCOL_TLS_CLIENT, SSLContext

import httpx
import trio
from attrs import define, field

from squire_gatherings._values.errors import Undelivered

REST_WITHIN = 1.0
"""How many seconds the rest of an answer has, which says nothing to us."""


def _client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        # To load the certificates of all authorities takes long; this context trusts nobody.
        verify=True if url.startswith("https:") else SSLContext(PROTOCOL_TLS_CLIENT),
        # The time limit is one for all of a request.
        timeout=None,
        headers={"content-type": "application/json", "user-agent": "squire-gatherings"},
        limits=httpx.Limits(max_connections=1),
    )


@define(eq=False)
class Poster:
    """Posts to one URL, over one connection as long as it lasts. Follows no redirects."""

    url: str
    _client: httpx.AsyncClient = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._client = _client(self.url)

    async def post(self, body: bytes, headers: dict[str, str], timeout: float) -> tuple[int, str]:
        """Post something; return the answer's status, and its `Retry-After`.

        Raises:
            Undelivered: There was no answer, or not in time.

        Cancellation: it may or may not have been received.
        """
        try:
            with trio.fail_after(timeout):
                request = self._client.stream(
                    "POST", self.url, content=body, headers=headers, follow_redirects=False
                )
                async with request as response:
                    # An answer that was read to its end lets the connection be used again.
                    with trio.move_on_after(REST_WITHIN):
                        async for _ in response.aiter_raw():
                            pass
        except trio.TooSlowError:
            raise Undelivered(f"no answer within {timeout:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise Undelivered(str(error) or type(error).__name__) from None
        return response.status_code, response.headers.get("retry-after", "")

    async def aclose(self) -> None:
        """Close the connection."""
        await self._client.aclose()
