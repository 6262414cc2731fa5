"""The HTTP requests of a webhook. It alone needs the extra `webhook`."""

import httpx
import trio
from attrs import define, field

from squire_gatherings._values.errors import Undelivered

ANSWER = 64 * 1024
"""How many bytes of an answer are read at most, so that the connection can be used again."""


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        # The time limit is one for all of a request.
        timeout=None,
        headers={"content-type": "application/json", "user-agent": "squire-gatherings"},
        limits=httpx.Limits(max_connections=1),
    )


@define(eq=False)
class Poster:
    """Posts to one URL, over one connection as long as it lasts. Follows no redirects."""

    url: str
    _client: httpx.AsyncClient = field(factory=_client)

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
                    read = 0
                    async for part in response.aiter_raw():
                        read += len(part)
                        if read > ANSWER:
                            break
        except trio.TooSlowError:
            raise Undelivered(f"no answer within {timeout:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise Undelivered(str(error) or type(error).__name__) from None
        return response.status_code, response.headers.get("retry-after", "")

    async def aclose(self) -> None:
        """Close the connection."""
        await self._client.aclose()
