"""Sessions: how a browser logs in. It gives the token once, and gets a cookie that isn't the token.

The cookie is good for half a day, or until the token changes. Scripts can't read it, and no request
that another site's page begins carries it.
"""

from typing import Annotated

import msgspec
import trio
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from squire_gatherings._admin.audit import audit
from squire_gatherings._admin.operations import read_body
from squire_gatherings._admin.problems import Refusal, problem
from squire_gatherings._admin.security import COOKIE, MOST, SESSION, Gate, operator_of


class Login(Struct, forbid_unknown_fields=True):
    """What a browser logs in with."""

    token: Annotated[str, Meta(max_length=MOST)]


def session_routes(gate: Gate) -> list[Route]:
    """Return the routes by which browsers log in and out."""

    async def log_in(request: Request) -> Response:
        operator = operator_of(request.headers, _peer(request))
        try:
            if request.headers.get("content-type", "").partition(";")[0] != "application/json":
                raise Refusal(415, "not_json", "the body must be application/json")
            try:
                said = msgspec.json.decode(await read_body(request), type=Login)
            except (ValueError, RecursionError) as error:
                raise Refusal(400, "bad_body", str(error)[:500]) from None
            if not gate.token.matches(said.token):
                raise Refusal(401, "unauthorized", "that isn't the token")
        except Refusal as refusal:
            audit("log_in", operator, "", refusal.code)
            return problem(refusal)
        audit("log_in", operator, "", "done")
        expires = int(gate.clock()) + SESSION
        return _with_cookie(request, gate.token.seal(expires), SESSION)

    async def log_out(request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        return _with_cookie(request, "", 0)

    return [
        Route("/login", log_in, methods=["POST"]),
        Route("/logout", log_out, methods=["POST"]),
    ]


def _with_cookie(request: Request, value: str, seconds: int) -> Response:
    answer = Response(status_code=204)
    is_secure = request.url.scheme == "https"
    answer.set_cookie(
        COOKIE, value, max_age=seconds, httponly=True, samesite="strict", secure=is_secure
    )
    return answer


def _peer(request: Request) -> str:
    return request.client.host if request.client else "unknown"
