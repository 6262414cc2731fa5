"""The application: what is served on the admin port, and the gate before all of it."""

import logging
from collections.abc import MutableMapping
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from squire_gatherings._admin.api import addresses, ends, gatherings, hall, nodes, users
from squire_gatherings._admin.openapi import openapi
from squire_gatherings._admin.operations import Operation, Served, routes_of
from squire_gatherings._admin.problems import Refusal, problem
from squire_gatherings._admin.sessions import session_routes
from squire_gatherings._values.errors import GatheringsError

_log = logging.getLogger(__name__)

OPERATIONS: tuple[Operation, ...] = (
    *gatherings.OPERATIONS,
    *ends.OPERATIONS,
    *users.OPERATIONS,
    *addresses.OPERATIONS,
    *hall.OPERATIONS,
    *nodes.OPERATIONS,
)

HEADERS = {
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}
"""Every answer has these, unless it says something else itself."""


def make_app(served: Served, *more: BaseRoute) -> ASGIApp:
    """Return the whole application; `more` are routes besides those of the API."""
    description = msgspec.json.encode(openapi(OPERATIONS, hall.VERSION))

    async def describe(request: Request) -> Response:
        try:
            served.gate.check_operator(request.method, request.headers, request.cookies)
        except Refusal as refusal:
            return problem(refusal)
        return Response(description, media_type="application/json")

    routes = [
        *routes_of(OPERATIONS, served),
        Route("/api/v1/openapi.json", describe, methods=["GET"]),
        *session_routes(served.gate),
        *more,
    ]
    handlers = {HTTPException: _http_error, Exception: _failed}
    inner = Starlette(routes=routes, exception_handlers=handlers)
    inner.router.redirect_slashes = False
    return Frontier(inner, served)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "no_page", 405: "wrong_method"}.get(error.status_code, "http")
    why = {404: "there is nothing here", 405: "this can't be asked in this way"}
    detail = why.get(error.status_code, error.detail)
    return problem(Refusal(error.status_code, code, detail, dict(error.headers or {})))


async def _failed(request: Request, error: Exception) -> Response:
    # Asked also where the answer has begun: then it breaks off, and its reader sees that.
    if isinstance(error, GatheringsError):
        _log.warning("an answer of the admin port broke off", extra={"why": str(error)})
    else:
        extra = {"path": request.scope["path"][:200]}
        _log.error("a request to the admin port failed", exc_info=error, extra=extra)
    return problem(Refusal(500, "internal", "this is a bug: the server's log has more"))


class Frontier:
    """Sees every request first: who is asked, and from which page; and that each gets an answer."""

    def __init__(self, app: ASGIApp, served: Served) -> None:
        self._app = app
        self._served = served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, as ASGI has it."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = _with_headers(message)
            await send(message)

        try:
            headers = Headers(scope=scope)
            self._served.gate.check_host(headers, len(headers.getlist("host")))
            await self._app(scope, receive, send_with_headers)
        except Refusal as refusal:
            await problem(refusal)(scope, receive, send_with_headers)
        except Exception as error:
            # Starlette raises it again when `_failed` has logged and told it.
            _log.debug("what broke it off", exc_info=error)


def _with_headers(message: MutableMapping[str, Any]) -> Message:
    said = {name.lower() for name, _ in message["headers"]}
    more = [(name, value) for name, value in HEADERS.items() if name not in said]
    return {**message, "headers": [*message["headers"], *more]}


async def _live(receive: Receive, send: Send) -> None:
    """Say yes to what a server says at its start and at its end; there's nothing to be done."""
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
