"""`python -m examples.chat`: a chat, with who is here and who is typing.

The server is this file, and the page is `page.html`. What is said is an op, judged and logged; who
is here is presence, which nobody keeps.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import trio
from starlette.applications import Starlette
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from examples.serving import serve_site
from squire_gatherings import (
    Hall,
    Identity,
    Op,
    OpRejected,
    Stamp,
    Submission,
    Unauthorized,
    attend_asgi,
    open_hall,
)

PAGE = Path(__file__).with_name("page.html")
CLIENT = files("squire_gatherings") / "browser"
REMEMBERED = 100
"""How many messages somebody sees who comes late; the log has all."""

LONGEST = 1000
LONGEST_NAME = 40


class Chat:
    """The last messages of a room."""

    serves_snapshots = True

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []

    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        """Let pass what is text."""
        for op in ops:
            match op.value:
                case {"text": str() as text} if 0 < len(text.strip()) <= LONGEST:
                    pass
                case _:
                    raise OpRejected(f"a message has 1 to {LONGEST} characters")
        return ops

    def fold(self, op: Op, stamp: Stamp) -> None:
        """Keep it, and forget what is too old."""
        self.said.append({"by": stamp.by, "text": op.value["text"], "time": stamp.time})
        del self.said[:-REMEMBERED]

    def snapshot(self) -> Any:
        """Return the messages."""
        return self.said

    def restore(self, snapshot: Any) -> None:
        """Take them over."""
        self.said = snapshot


async def by_name(token: str | None, gathering_id: str) -> Identity:
    """Believe everybody's name. A program for others than friends asks for a password."""
    name = " ".join((token or "").split())
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise Unauthorized(f"a name has 1 to {LONGEST_NAME} letters")
    return Identity(name)


def application(hall: Hall) -> Starlette:
    """Return the page, the client that it uses, and the way into the rooms."""

    async def page(_: object) -> Response:
        return FileResponse(PAGE)

    class Room:
        """The WebSocket, as plain ASGI."""

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await attend_asgi(hall, scope["path_params"]["room"], scope, receive, send)

    return Starlette(
        routes=[
            Route("/", page),
            WebSocketRoute("/gatherings/{room}", Room()),
            Mount("/squire", StaticFiles(directory=str(CLIENT))),
        ]
    )


@asynccontextmanager
async def open_chat(host: str, port: int) -> AsyncIterator[tuple[Hall, str]]:
    """Serve the chat for as long as the block lasts; give its hall and its URL."""
    async with (
        open_hall(behaviour=Chat, authenticate=by_name, presence=True) as hall,
        serve_site(hall, application(hall), host, port) as url,
    ):
        yield hall, url


async def serve(host: str, port: int) -> None:
    """Serve until it is interrupted; say where."""
    async with open_chat(host, port) as (_, url):
        print(f"Chat at {url}/#lobby: open it in two browsers. Ctrl-C ends it.", flush=True)
        await trio.sleep_forever()


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 for phones nearby.")
@click.option("--port", default=8771, show_default=True, type=click.IntRange(0, 65535))
def main(host: str, port: int) -> None:
    """Serve a chat with presence."""
    try:
        trio.run(serve, host, port)
    except* KeyboardInterrupt:
        click.echo("everybody has been told")


if __name__ == "__main__":
    main()
