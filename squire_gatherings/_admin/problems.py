"""Problems: what a caller is told that went wrong, as RFC 9457 has it."""

import msgspec
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"

TITLES = {
    400: "Bad request",
    401: "Not authorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    413: "Request too large",
    415: "Unsupported media type",
    421: "Misdirected request",
    422: "Can't be done",
    500: "Internal error",
    501: "Not implemented",
    503: "Not available now",
}


class Problem(msgspec.Struct, omit_defaults=True):
    """What went wrong (RFC 9457)."""

    title: str
    """What kind of problem it is, in words."""
    status: int
    """The HTTP status."""
    code: str
    """What kind of problem it is, for programs."""
    detail: str = ""
    """What was wrong this time."""
    type: str = "about:blank"


class Refusal(Exception):
    """A request isn't carried out; becomes a `Problem`."""

    def __init__(
        self, status: int, code: str, detail: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers or {}


def problem(refusal: Refusal) -> Response:
    """Return the answer that tells it."""
    status = refusal.status
    body = Problem(TITLES.get(status, "Problem"), status, refusal.code, refusal.detail)
    return Response(
        msgspec.json.encode(body), status, headers=refusal.headers, media_type=MEDIA_TYPE
    )
