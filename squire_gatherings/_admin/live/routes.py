"""The routes of the live stream: `GET /live` is the stream, by it a viewer has an id, and
`POST /live/ID` says what that viewer wants to see. They are the page's own, and no part of the API.
"""

from collections.abc import AsyncGenerator

import msgspec
import trio
from attrs import define
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from squire_gatherings._admin.api.hall import VERSION
from squire_gatherings._admin.live.news import Reporter, Watched, event
from squire_gatherings._admin.live.shapes import Asked, Hello
from squire_gatherings._admin.operations import Served, read_body_as
from squire_gatherings._admin.problems import Refusal, problem
from squire_gatherings._admin.streaming import Streamed


@define(eq=False)
class Live:
    """The live stream of one admin port."""

    served: Served
    watched: Watched

    async def stream(self, request: Request) -> Response:
        """Answer with the stream."""
        try:
            self._check(request)
            pieces = self._pieces(request)
            # Whether there's a place is said before the answer begins.
            first = await anext(pieces)
        except Refusal as refusal:
            return problem(refusal)
        return Streamed(first, pieces, self.served.stopping, media_type="text/event-stream")

    async def ask(self, request: Request) -> Response:
        """Take what a viewer wants to see, and answer with the time of the hall's clock."""
        try:
            self._check(request)
            viewer = self.watched.viewers.find(request.path_params["viewer"])
            viewer.ask(await read_body_as(request, Asked))
        except Refusal as refusal:
            return problem(refusal)
        answer = msgspec.json.encode({"now": round(trio.current_time(), 4)})
        return Response(answer, media_type="application/json")

    def _check(self, request: Request) -> None:
        self.served.gate.check_operator(request.method, request.headers, request.cookies)

    async def _pieces(self, request: Request) -> AsyncGenerator[bytes, None]:
        served, watched = self.served, self.watched
        with watched.viewers.place() as viewer:
            store = served.hall.store.name
            yield event(
                Hello(viewer=viewer.id, version=VERSION, started_at=served.started_at, store=store)
            )
            reporter = Reporter(watched)
            # A session may end, or the token change, while somebody watches.
            while served.gate.is_operator(request.method, request.headers, request.cookies):
                viewer.noticed()
                yield event(await reporter.report(viewer.asked))
                await viewer.wait_until(reporter.next_at)


def live_routes(live: Live) -> list[Route]:
    """Return the routes of a live stream."""
    return [
        Route("/live", live.stream, methods=["GET"]),
        Route("/live/{viewer}", live.ask, methods=["POST"]),
    ]
