"""The routes of the page's files. They tell nothing of the hall, so anybody may load them: the page
asks for the token.
"""

from importlib.resources import files

import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}

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
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""What the page may do: nothing but use its own files and ask its own server."""

HEADERS = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}


def page_routes() -> list[Route]:
    """Return a route for each file, and one for the page itself."""
    routes = []
    for file in files("squire_gatherings._admin.page").joinpath("static").iterdir():
        kind = TYPES.get(file.name.rpartition(".")[2])
        if kind is not None:
            path = "/" if file.name == "index.html" else f"/page/{file.name}"
            routes.append(_route(path, file.read_bytes(), kind))
    return routes


def _route(path: str, content: bytes, kind: str) -> Route:
    async def give(request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        return Response(content, headers=HEADERS, media_type=kind)

    return Route(path, give, methods=["GET"])
