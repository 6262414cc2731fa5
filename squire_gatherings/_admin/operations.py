"""Operations: the calls of the API as a table, and how one request becomes one call.

The routes and the OpenAPI description are both made of the table, so that they say the same.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec
import trio
from attrs import define, field, frozen
from msgspec import Struct
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from squire_gatherings._admin.audit import audit
from squire_gatherings._admin.problems import Refusal, problem
from squire_gatherings._admin.security import Gate, operator_of
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.observing import Observer
from squire_gatherings._values.errors import (
    BadRequest,
    CannotRemember,
    Full,
    GatheringCrashed,
    GatheringDispersed,
    GatheringsError,
    HallClosed,
    StoreConflict,
    StoreUnavailable,
)

S = TypeVar("S", bound=Struct)

MAX_BODY = 64 * 1024
"""How many bytes a request's body may have."""

BODY_TIMEOUT = 10.0
"""How many seconds it may take to arrive."""

_STATUS: tuple[tuple[type[GatheringsError], int], ...] = (
    (GatheringDispersed, 404),
    (HallClosed, 503),
    (StoreUnavailable, 503),
    (GatheringCrashed, 503),
    (Full, 503),
    (CannotRemember, 503),
    (StoreConflict, 409),
    (BadRequest, 400),
)


@define(eq=False)
class Served:
    """What the calls work on."""

    hall: Hall
    observer: Observer
    gate: Gate
    started_at: float
    stopping: trio.Event = field(factory=trio.Event)
    """Set when the port is about to close: what would last long ends then."""


@frozen
class Call:
    """One request, as its operation sees it."""

    served: Served
    request: Request
    operator: str
    query: Any = None
    body: Any = None

    @property
    def hall(self) -> Hall:
        """The hall."""
        return self.served.hall

    @property
    def observer(self) -> Observer:
        """What is read of the hall."""
        return self.served.observer

    @property
    def gathering(self) -> str:
        """The id in the path."""
        return str(self.request.path_params["gathering"])


@frozen(kw_only=True)
class Operation:
    """One call of the API."""

    method: str
    path: str
    name: str
    """As which it's known in the OpenAPI description, and in the audit log."""
    does: str
    """What it does, in a sentence."""
    run: Callable[[Call], Awaitable[Struct | Response]]
    answer: type[Struct] | None = None
    """What it answers; None where that isn't JSON."""
    media_type: str = "application/json"
    query: type[Struct] | None = None
    body: type[Struct] | None = None
    problems: Sequence[int] = ()
    """The statuses with which it may be refused, besides those of all."""

    @property
    def changes(self) -> bool:
        """Whether it changes anything."""
        return self.method != "GET"


def routes_of(operations: Iterable[Operation], served: Served) -> list[Route]:
    """Return a route for each path, which knows all its methods."""
    by_path: dict[str, dict[str, Operation]] = {}
    for one in operations:
        by_path.setdefault(one.path, {})[one.method] = one
    return [_route(path, methods, served) for path, methods in by_path.items()]


def _route(path: str, methods: dict[str, Operation], served: Served) -> Route:
    async def endpoint(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await _answer(methods[method], request, served)

    return Route(path, endpoint, methods=list(methods))


async def _answer(operation: Operation, request: Request, served: Served) -> Response:
    operator = operator_of(request.headers, request.client.host if request.client else "unknown")
    try:
        served.gate.check_operator(request.method, request.headers, request.cookies)
        answer = await _run(operation, request, served, operator)
    except Refusal as refusal:
        if operation.changes:
            _note(operation, request, operator, refusal.code)
        return problem(refusal)
    if isinstance(answer, Response):
        return answer
    return Response(msgspec.json.encode(answer), media_type="application/json")


async def _run(
    operation: Operation, request: Request, served: Served, operator: str
) -> Struct | Response:
    query = None if operation.query is None else _query(request, operation.query)
    if operation.query is None and request.url.query:
        raise Refusal(400, "bad_query", "this takes no query")
    body = None if operation.body is None else await read_body_as(request, operation.body)
    call = Call(served, request, operator, query, body)
    try:
        answer = await operation.run(call)
    except GatheringsError as error:
        status = next((number for kind, number in _STATUS if isinstance(error, kind)), 400)
        code = "not_open" if isinstance(error, GatheringDispersed) else error.code
        raise Refusal(status, code, str(error)) from error
    except ValueError as error:
        raise Refusal(400, "bad_value", str(error)) from error
    if operation.changes:
        _note(operation, request, operator, "done", body)
    return answer


def _note(
    operation: Operation, request: Request, operator: str, outcome: str, body: Any = None
) -> None:
    target = request.path_params.get("gathering") or getattr(body, "user", None) or ""
    audit(operation.name, operator, str(target)[:200], outcome)


def _query(request: Request, shape: type[Struct]) -> Struct:
    said: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in said:
            raise Refusal(400, "bad_query", f"{name[:40]!r} is there twice")
        said[name] = value
    try:
        return msgspec.convert(said, shape, strict=False)
    except ValueError as error:
        raise Refusal(400, "bad_query", str(error)[:500]) from None


async def read_body_as(request: Request, shape: type[S]) -> S:
    """Return a request's body, which must be JSON of that shape. Raises `Refusal`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, "not_json", "the body must be application/json")
    data = await read_body(request)
    try:
        return msgspec.json.decode(data, type=shape)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "bad_body", str(error)[:500]) from None


async def read_body(request: Request) -> bytes:
    """Return a request's body, within limits of size and time. Raises `Refusal`."""
    data = bytearray()
    try:
        with trio.fail_after(BODY_TIMEOUT):
            async with aclosing(request.stream()) as parts:
                async for part in parts:
                    data += part
                    if len(data) > MAX_BODY:
                        why = f"a request has at most {MAX_BODY} bytes"
                        raise Refusal(413, "too_big", why, {"Connection": "close"})
    except trio.TooSlowError:
        why = f"the request didn't arrive within {BODY_TIMEOUT:.0f} seconds"
        raise Refusal(408, "too_slow", why, {"Connection": "close"}) from None
    except ClientDisconnect:
        raise Refusal(400, "gone", "the request broke off") from None
    return bytes(data)
