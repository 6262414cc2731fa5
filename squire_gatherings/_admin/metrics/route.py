"""`/metrics`: what Prometheus asks for."""

import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from squire_gatherings._admin.metrics.exposition import CONTENT_TYPE, Exposition
from squire_gatherings._admin.problems import Refusal, problem
from squire_gatherings._admin.security import Gate


def metrics_route(exposition: Exposition, gate: Gate, *, is_open: bool) -> Route:
    """Return the route; `is_open` needs no token."""

    async def scrape(request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        try:
            if not is_open:
                gate.check_operator(request.method, request.headers, request.cookies)
        except Refusal as refusal:
            return problem(refusal)
        return Response(exposition.text(), headers={"Content-Type": CONTENT_TYPE})

    return Route("/metrics", scrape, methods=["GET"])
