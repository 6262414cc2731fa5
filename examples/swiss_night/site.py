"""The web application: the page, signing in, the WebSocket, and pairing the next round."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import trio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from examples.swiss_night.door import ROLES, Door
from examples.swiss_night.dutch import CannotPair
from examples.swiss_night.pairing import next_pairings
from examples.swiss_night.tournament import Tournament
from squire_gatherings import (
    GatheringsError,
    Hall,
    Identity,
    OpRejected,
    Unauthorized,
    attend_asgi,
)

PAGE = Path(__file__).parent / "page"
CLIENT = files("squire_gatherings") / "browser"
LONGEST_NAME = 40
LONGEST_BODY = 4096

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""What the page may do: use its own files, and ask its own server."""


async def tournament_of(hall: Hall, gathering_id: str) -> Tournament:
    """Return the state of a tournament. It is activity: it wakes one that sleeps."""
    page = await hall.fetch(gathering_id)
    return msgspec.convert(page.snapshot, Tournament)


async def start_next_round(hall: Hall, gathering_id: str, judge: Identity) -> int:
    """Pair the next round and start it, in a judge's name; return its number.

    The pairing takes a second or two for 200 players, so it's done in a thread, and then submitted
    as an op like any other. Raises `OpRejected` where somebody has come or gone meanwhile.
    """
    night = await tournament_of(hall, gathering_id)
    number = len(night.rounds) + 1
    try:
        pairings = await trio.to_thread.run_sync(next_pairings, night)
    except CannotPair as error:
        raise OpRejected(str(error)) from None
    op = {"do": "start_round", "round": number, "pairings": pairings}
    await hall.submit(gathering_id, [op], identity=judge)
    return number


def application(hall: Hall, door: Door) -> Starlette:
    """Return the site of a hall's tournaments."""

    async def sign_in(request: Request) -> Response:
        try:
            said = await _json(request)
            name, role, code = (said.get(key, "") for key in ("name", "role", "code"))
            gathering_id = said.get("gathering", "")
        except ValueError:
            return _problem(400, "that's no sign-in")
        name = " ".join(name.split())
        if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
            return _problem(400, f"a name has 1 to {LONGEST_NAME} letters")
        if gathering_id not in door.gatherings:
            return _problem(404, "there's no such tournament")
        if role not in ROLES:
            return _problem(400, "a role is judge, player or observer")
        is_judge = door.knows(code)
        if (code or role == "judge") and not is_judge:
            return _problem(403, "that isn't the judges' code")
        if role == "player" and not is_judge:
            night = await tournament_of(hall, gathering_id)
            if name in night.players:
                return _problem(409, f"somebody has entered as {name}: a judge can let you in")
        return JSONResponse(
            {"token": door.token(name, role, gathering_id), "name": name, "role": role}
        )

    async def next_round(request: Request) -> Response:
        gathering_id = request.path_params["gathering"]
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        try:
            judge = await door.authenticate(token if scheme == "Bearer" else None, gathering_id)
            if judge.role != "judge":
                return _problem(403, "only a judge may do this")
            number = await start_next_round(hall, gathering_id, judge)
        except Unauthorized as error:
            return _problem(401, str(error))
        except OpRejected as error:
            return _problem(409, str(error))
        except GatheringsError as error:
            return _problem(503, str(error))
        return JSONResponse({"round": number})

    class Gathering:
        """The WebSocket, as plain ASGI."""

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await attend_asgi(hall, scope["path_params"]["gathering"], scope, receive, send)

    routes: list[BaseRoute] = [
        Route("/sign-in", sign_in, methods=["POST"]),
        Route("/gatherings/{gathering}/next-round", next_round, methods=["POST"]),
        WebSocketRoute("/gatherings/{gathering}", Gathering()),
        Mount("/squire", StaticFiles(directory=str(CLIENT))),
        Mount("/", StaticFiles(directory=PAGE, html=True)),
    ]
    return Starlette(routes=routes, middleware=[Middleware(_Careful)])


async def _json(request: Request) -> dict[str, Any]:
    """Return a small JSON object of text. Raises `ValueError`."""
    if int(request.headers.get("content-length", LONGEST_BODY + 1)) > LONGEST_BODY:
        raise ValueError
    return msgspec.json.decode(await request.body(), type=dict[str, str])


def _problem(status: int, text: str) -> Response:
    return JSONResponse({"problem": text}, status_code=status)


class _Careful:
    """Says of each answer what the page may do, and that it isn't kept."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_careful(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", POLICY.encode()),
                    (b"cache-control", b"no-cache"),
                    (b"referrer-policy", b"no-referrer"),
                ]
            await send(message)

        await self._app(scope, receive, send_careful)
