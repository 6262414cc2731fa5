"""A server, what is between it and its clients, and pages that are served from elsewhere."""

import functools
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import trio
from attrs import define, frozen

import squire_gatherings
from squire_gatherings import Hall, ServerSettings, open_hall, serve
from tests.chromium import PATIENCE, Browser
from tests.client.faulty_proxy import FaultyProxy, open_faulty_proxy

PAGES = Path(__file__).parent / "pages"
LIBRARY = Path(squire_gatherings.__file__).parent / "browser"
CUTS = ("cut", "truncate")
"""What a browser notices by itself. A connection on which nothing moves it finds out by asking,
after a while that is too long for a test."""


class _Files(SimpleHTTPRequestHandler):
    """Plain files, as any server has them."""

    def translate_path(self, path: str) -> str:
        name = path.partition("?")[0].lstrip("/")
        library = name.removeprefix("squire-gatherings/")
        return str(PAGES / name if library == name else LIBRARY / library)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def open_site() -> Iterator[str]:
    """Serve the pages and the library; yield the origin."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Files) as server:
        thread = threading.Thread(target=functools.partial(server.serve_forever, 0.05))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@frozen
class World:
    hall: Hall
    proxy: FaultyProxy

    @property
    def url(self) -> str:
        """Where clients find the server: behind the proxy."""
        host, port = self.proxy.address
        return f"ws://{host}:{port}"

    async def log(self) -> list[str]:
        """Return what names each op of the log."""
        found: list[str] = []
        while True:
            page = await self.hall.fetch("room", since=len(found))
            assert isinstance(page.ops, tuple)
            found += [op.value["uid"] for op in page.ops]
            if len(found) == page.seq:
                return found


@asynccontextmanager
async def open_world(
    origin: str = "*", *, faults: int = 0, spacing: int = 5, seed: int = 1, **settings: Any
) -> AsyncIterator[World]:
    """Serve a hall behind a proxy that cuts connections."""
    async with open_hall(**settings) as hall, trio.open_nursery() as nursery:
        allowed = ServerSettings(allow_origins=[origin])
        serving = partial(serve, hall, host="127.0.0.1", port=0, settings=allowed)
        server = await nursery.start(serving)
        host, port = server.addresses[0]
        async with open_faulty_proxy(
            host, port, seed=seed, faults=faults, spacing=spacing, kinds=CUTS
        ) as proxy:
            yield World(hall, proxy)
        nursery.cancel_scope.cancel()


@define
class Tabs:
    """The tabs of a browser, of which one is in front."""

    browser: Browser
    site: str
    url: str

    async def open(self, *, alone: int = 0) -> str:
        """Open the page in a new tab; return its handle."""
        tab = await self.browser.new_tab()
        await self.browser.switch(tab)
        await self.browser.go(f"{self.site}/page.html?url={self.url}&alone={alone}")
        await self.ready()
        return tab

    async def close(self, tab: str) -> None:
        """Close a tab."""
        await self.browser.switch(tab)
        await self.browser.close_tab()
        await self.browser.switch((await self.browser.tabs())[0])

    async def ready(self) -> None:
        """Wait until the page in front is loaded."""
        await self.browser.eventually("() => document.body.dataset.ready === 'yes'")

    async def all(self, tabs: list[str], script: str, *arguments: Any) -> list[Any]:
        """Return what all lives in these tabs say, one tab after the other."""
        said: list[Any] = []
        for tab in tabs:
            await self.browser.switch(tab)
            each = f"return await Promise.all(window.lives.map(async (life) => {{ {script} }}))"
            answer = await self.browser.promised(
                f"const given = [...arguments]; {each}", *arguments
            )
            assert isinstance(answer, list), answer
            said += answer
        return said


@asynccontextmanager
async def open_tabs(session: str, site: str, url: str) -> AsyncIterator[Tabs]:
    """Give the tabs of a browser; close those that are open at the end."""
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE + 10) as client:
        browser = Browser(client, session)
        [first] = await browser.tabs()
        tabs = Tabs(browser, site, url)
        try:
            yield tabs
        finally:
            with trio.CancelScope(shield=True):
                for tab in set(await browser.tabs()) - {first}:
                    await tabs.close(tab)


def check(log: list[str], reports: list[dict[str, Any]]) -> None:
    """All clients have the server's log, each op once, and know their own."""
    assert len(set(log)) == len(log), "each op once"
    whole = [[seq, uid] for seq, uid in enumerate(log, start=1)]
    for report in reports:
        assert report["errors"] == []
        assert (report["status"], report["pending"]) == ("open", 0)
        assert report["state"] == whole
        seen = [[seq, uid] for seq, uid, _ in report["seen"]]
        assert seen == sorted(seen), "in order"
        assert sorted(seen + report["own"]) == whole, "its own and the others', each once"


@frozen
class Program:
    """Clients in a process of another runtime."""

    process: trio.Process

    async def ask(self, what: str, *more: Any) -> list[Any]:
        """Have all its lives do this; return what each says."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        await self.process.stdin.send_all(json.dumps([what, *more]).encode() + b"\n")
        said = b""
        while not said.endswith(b"\n"):
            piece = await self.process.stdout.receive_some()
            assert piece, "the program ended"
            said += piece
        answer = json.loads(said)
        assert isinstance(answer, list)
        return answer


@asynccontextmanager
async def open_program(command: list[str], url: str, lives: int) -> AsyncIterator[Program]:
    """Run clients by `command`, and have them say goodbye at the end."""
    process = await trio.lowlevel.open_process(
        [*command, str(PAGES / "program.mjs"), url, str(lives)], stdin=-1, stdout=-1
    )
    try:
        yield Program(process)
        assert process.stdin is not None
        await process.stdin.aclose()
        with trio.fail_after(PATIENCE):
            assert await process.wait() == 0
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
