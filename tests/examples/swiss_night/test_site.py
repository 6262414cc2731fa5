"""The site: who may come in, and as what; the next round; what the page may do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from attrs import frozen

from examples.swiss_night.behaviour import SwissNight
from examples.swiss_night.door import Door
from examples.swiss_night.serving import key_file, open_site
from squire_gatherings import Hall, Identity, OpRejected, Unauthorized
from squire_gatherings.client import open_client

JUDGE = Identity("Olga", "judge")


@frozen
class Site:
    hall: Hall
    url: str
    http: httpx.AsyncClient
    door: Door

    async def sign_in(self, name: str, role: str, code: str = "") -> httpx.Response:
        asked = {"name": name, "role": role, "code": code, "gathering": "friday-night"}
        return await self.http.post("/sign-in", json=asked)

    async def token(self, name: str, role: str, code: str = "") -> str:
        answer = await self.sign_in(name, role, code)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["token"])


@asynccontextmanager
async def open_one(folder: Path) -> AsyncIterator[Site]:
    door = Door(folder / "key", "secret", ["friday-night"])
    async with (
        open_site(door, host="127.0.0.1", port=0, store="memory:", idle=3600) as (hall, url),
        httpx.AsyncClient(base_url=url) as http,
    ):
        yield Site(hall, url, http, door)


async def test_people_come_in_by_their_roles(tmp_path: Path) -> None:
    async with open_one(tmp_path) as site:
        url = site.url.replace("http", "ws", 1)
        player = await site.token("  Zoe   Q ", "player")
        judge = await site.token("Olga", "judge", "secret")
        observer = await site.token("Max", "observer")
        async with (
            open_client(url, token=player) as zoe,
            open_client(url, token=judge) as olga,
            open_client(url, token=observer) as max_,
            zoe.join("friday-night", behaviour=SwissNight) as playing,
            olga.join("friday-night", behaviour=SwissNight) as judging,
            max_.join("friday-night", behaviour=SwissNight) as watching,
        ):
            assert await playing.submit({"do": "enter"}) == 1
            with pytest.raises(OpRejected, match="only a judge"):
                await playing.submit({"do": "finish"})
            assert await judging.submit({"do": "drop", "player": "Zoe Q"}) == 2
            with pytest.raises(Exception, match="observer"):
                await watching.submit({"do": "enter"})
            assert (await anext(watching)).by == "Zoe Q"


async def test_who_may_not_come_in(tmp_path: Path) -> None:
    async with open_one(tmp_path) as site:
        await site.hall.submit("friday-night", [{"do": "enter", "player": "Zoe"}], identity=JUDGE)
        for name, role, code, status in [
            ("Olga", "judge", "", 403),
            ("Olga", "judge", "guess", 403),
            ("Zoe", "player", "", 409),
            ("Zoe", "player", "guess", 403),
            (" ", "player", "", 400),
            ("x" * 41, "player", "", 400),
            ("a\x00b", "player", "", 400),
            ("Zoe", "king", "", 400),
        ]:
            answer = await site.sign_in(name, role, code)
            assert (answer.status_code, "problem" in answer.json()) == (status, True), name
        assert (await site.sign_in("Zoe", "player", "secret")).status_code == 200  # a judge's word
        elsewhere = {"name": "a", "role": "player", "gathering": "monday"}
        assert (await site.http.post("/sign-in", json=elsewhere)).status_code == 404
        for body in (b"", b"[]", b'{"name": 1}', b"{" + b" " * 5000 + b"}"):
            assert (await site.http.post("/sign-in", content=body)).status_code == 400
        url = site.url.replace("http", "ws", 1)
        async with open_client(url, token="nonsense") as client:
            with pytest.raises(Unauthorized):
                async with client.join("friday-night"):
                    pass


async def test_a_judge_starts_the_next_round(tmp_path: Path) -> None:
    async with open_one(tmp_path) as site:
        path = "/gatherings/friday-night/next-round"
        assert (await site.http.post(path)).status_code == 401
        player = {"Authorization": f"Bearer {await site.token('Zoe', 'player')}"}
        assert (await site.http.post(path, headers=player)).status_code == 403
        judge = {"Authorization": f"Bearer {await site.token('Olga', 'judge', 'secret')}"}
        empty = await site.http.post(path, headers=judge)
        assert (empty.status_code, empty.json()) == (409, {"problem": "there is nobody to pair"})
        enter = [{"do": "enter", "player": name} for name in ("Zoe", "Max", "Ada")]
        await site.hall.submit("friday-night", enter, identity=JUDGE)
        started = await site.http.post(path, headers=judge)
        assert (started.status_code, started.json()) == (200, {"round": 1})
        early = await site.http.post(path, headers=judge)
        assert early.status_code == 409
        assert "without a result: table 1 of round 1" in early.json()["problem"]


async def test_the_page_uses_its_own_files_only(tmp_path: Path) -> None:
    async with open_one(tmp_path) as site:
        for path in ("/", "/app.js", "/style.css", "/squire/index.js"):
            answer = await site.http.get(path)
            assert answer.status_code == 200, path
            assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert (await site.http.get("/../door.py")).status_code == 404
        assert (await site.http.get("/%2e%2e/door.py")).status_code == 404


def test_the_key_stays_and_nobody_else_reads_it(tmp_path: Path) -> None:
    assert key_file("sqlite:///some/where.sqlite3") == Path("some/where.key")
    assert key_file("memory:") == Path("swiss_night.key")
    one = Door(tmp_path / "key", "a", ["x"])
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    key = (tmp_path / "key").read_text()
    Door(tmp_path / "key", "b", ["x"])
    assert (tmp_path / "key").read_text() == key
    assert one.knows("a")
    assert not one.knows("b")
