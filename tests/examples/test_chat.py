"""The chat: what is said, who is here and who types, by real sockets and in a real browser."""

from collections.abc import Iterator

import httpx
import pytest

from examples.chat.__main__ import Chat, open_chat
from squire_gatherings import Identity, OpRejected, Unauthorized
from squire_gatherings.client import open_client
from tests.chromium import MISSING, PATIENCE, Browser, open_session

ROOM = "lobby"


async def test_two_talk_and_see_each_other() -> None:
    async with open_chat("127.0.0.1", 0) as (_, url):
        at = url.replace("http", "ws")
        async with (
            open_client(at, token="Ada") as adas,
            open_client(at, token="Bruno") as brunos,
            adas.join(ROOM, behaviour=Chat, presence={"typing": False}) as ada,
            brunos.join(ROOM, behaviour=Chat, presence={"typing": False}) as bruno,
        ):
            ada.set_presence({"typing": True})
            view = await bruno.wait_presence()
            while not ("Ada" in view.users and view.users["Ada"].state["typing"]):
                view = await bruno.wait_presence(other_than=view)
            assert set(view.users) == {"Ada", "Bruno"}
            await ada.submit({"text": "Good evening"})
            change = await anext(bruno)
            assert (change.by, change.op) == ("Ada", {"text": "Good evening"})
            assert [one["text"] for one in bruno.snapshot()] == ["Good evening"]
            with pytest.raises(OpRejected):
                await bruno.submit({"text": " "})
            with pytest.raises(Unauthorized):
                async with open_client(at, token=" ") as nobodys, nobodys.join(ROOM):
                    pass


async def test_who_comes_late_sees_the_last_messages() -> None:
    async with open_chat("127.0.0.1", 0) as (hall, _):
        for number in range(3):
            ops = [{"text": f"{number} {n}"} for n in range(40)]
            await hall.submit(ROOM, ops, identity=Identity("Ada"))
        page = await hall.fetch(ROOM)
        assert [one["text"] for one in page.snapshot] == [
            f"{number // 40} {number % 40}" for number in range(20, 120)
        ]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with open_session(tmp_path_factory.mktemp("browser")) as url:
        yield url


@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
async def test_the_page(session: str) -> None:
    async with (
        open_chat("127.0.0.1", 0) as (hall, url),
        httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as http,
        open_client(url.replace("http", "ws"), token="Bruno") as client,
        client.join(ROOM, behaviour=Chat, presence={"typing": False}) as bruno,
    ):
        browser = Browser(http, session)
        await browser.go(f"{url}/#{ROOM}")
        await browser.eventually("() => document.querySelector('#enter')")
        name = "document.querySelector('[name=name]').value = 'Ada <b>'"
        await browser.run(f"{name}; document.querySelector('#enter').requestSubmit()")
        says = "(id, text) => document.querySelector(id).textContent.includes(text)"
        await browser.eventually(says, "#here", "Bruno, Ada <b>")

        bruno.set_presence({"typing": True})
        await browser.eventually(says, "#typing", "Bruno is typing")
        text = "document.querySelector('[name=text]')"
        await browser.run(f"{text}.value = 'Hi'")
        await browser.run(f"{text}.dispatchEvent(new Event('input', {{bubbles: true}}))")
        view = await bruno.wait_presence()
        while not view.users["Ada <b>"].state["typing"]:
            view = await bruno.wait_presence(other_than=view)
        await browser.run("document.querySelector('#say').requestSubmit()")
        change = await anext(bruno)
        assert (change.by, change.op) == ("Ada <b>", {"text": "Hi"})
        await browser.eventually(says, "#said", "Ada <b>Hi")
        while view.users["Ada <b>"].state["typing"]:
            view = await bruno.wait_presence(other_than=view)
        await browser.go("about:blank")
        assert hall.presence(ROOM).count == 2
