"""Carriers: how a token comes in, over every way in; and where it must never be."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from squire_gatherings import (
    HandshakeRequest,
    Identity,
    JwtAuthenticator,
    Restored,
    ServerSettings,
    Unauthorized,
)
from squire_gatherings._auth.authenticator import NEEDED, NOT_VALID
from squire_gatherings._auth.carriers import DIFFERENT
from squire_gatherings._auth.claims import NOT_COVERED
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.handshake import TOKEN_IN_URL
from squire_gatherings._values.origins import NOT_ALLOWED
from tests.auth.forge import NOW, door, public_pem, token
from tests.server.raw import RawClient
from tests.support import logged
from tests.ways_in.ways import Way, every_way, our_server, over_hypercorn, serving

GOOD = token()
SECRET_PART = GOOD.rpartition(".")[2]
"""A text that must never be in a log."""

JSON = "squire.v1+json"


@pytest.fixture
def ours(tmp_path: Path) -> JwtAuthenticator:
    return door(tmp_path, "EdDSA", cookie="session")


Headers = Sequence[tuple[str, str]]


def talk(
    url: str,
    *,
    join: str | None = None,
    headers: Headers = (),
    subprotocols: Sequence[str] = (),
) -> tuple[dict[str, Any], int | None, str | None]:
    """Join; return the answer, the close code if it was refused, and the subprotocol."""
    with RawClient(url, headers=headers, subprotocols=subprotocols) as client:
        client.say(type="join", **({} if join is None else {"token": join}))
        answer = client.hear()
        code = None if answer["type"] == "joined" else client.hear_close().code
        return answer, code, client.subprotocol


async def spoken(url: str, **how: Any) -> tuple[dict[str, Any], int | None, str | None]:
    return await trio.to_thread.run_sync(lambda: talk(url, **how))


CARRIED: dict[str, dict[str, Any]] = {
    "join": {"join": GOOD},
    "Authorization": {"headers": [("Authorization", f"Bearer {GOOD}")]},
    "authorization, lower": {"headers": [("authorization", f"bearer  {GOOD}")]},
    "subprotocol": {"subprotocols": [JSON, f"squire.token.{GOOD}"]},
    "subprotocol, first": {"subprotocols": [f"squire.token.{GOOD}", JSON]},
    "cookie": {"headers": [("Cookie", f"a=b; session={GOOD}; c=d")]},
    "quoted cookie": {"headers": [("Cookie", f'session="{GOOD}"')]},
    "all of them": {
        "join": GOOD,
        "headers": [("Authorization", f"Bearer {GOOD}"), ("Cookie", f"session={GOOD}")],
        "subprotocols": [JSON, f"squire.token.{GOOD}"],
    },
    "a proxy's own Authorization": {
        "join": GOOD,
        "headers": [("Authorization", "Basic cHJveHk6cHJveHk=")],
    },
}


@every_way
async def test_a_token_is_found_where_it_may_be(
    way: Way, ours: JwtAuthenticator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(way, authenticate=ours) as (_, _, url):
        for name, how in CARRIED.items():
            answer, code, subprotocol = await spoken(f"{url}/gatherings/room", **how)
            assert (answer["type"], answer.get("user"), code) == ("joined", "alice", None), name
            # The server never echoes it.
            assert subprotocol == (JSON if "subprotocols" in how else None)
    assert SECRET_PART not in logged(caplog)


OTHER = token(sub="mallory")

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({}, NEEDED),
    "an empty one": ({"join": ""}, NOT_VALID),
    "only a proxy's": ({"headers": [("Authorization", "Basic cHJveHk6cHJveHk=")]}, NEEDED),
    "an empty Bearer": ({"headers": [("Authorization", "Bearer")]}, NOT_VALID),
    "another cookie": ({"headers": [("Cookie", f"Session={GOOD}")]}, NEEDED),
    "an empty cookie": ({"headers": [("Cookie", "session=")]}, NOT_VALID),
    "join and header": (
        {"join": OTHER, "headers": [("Authorization", f"Bearer {GOOD}")]},
        DIFFERENT,
    ),
    "join and subprotocol": (
        {"join": GOOD, "subprotocols": [JSON, f"squire.token.{OTHER}"]},
        DIFFERENT,
    ),
    "join and cookie": ({"join": GOOD, "headers": [("Cookie", f"session={OTHER}")]}, DIFFERENT),
    "two cookies": (
        {"headers": [("Cookie", f"session={GOOD}; session={OTHER}")]},
        DIFFERENT,
    ),
    "two subprotocols": (
        {"subprotocols": [JSON, f"squire.token.{GOOD}", f"squire.token.{OTHER}"]},
        DIFFERENT,
    ),
    "a good one and a bad one": (
        {"join": GOOD, "headers": [("Authorization", "Bearer nonsense")]},
        DIFFERENT,
    ),
}


@every_way
async def test_no_token_or_several_are_refused(
    way: Way, ours: JwtAuthenticator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(way, authenticate=ours) as (hall, _, url):
        for name, (how, why) in REFUSED.items():
            answer, code, _ = await spoken(f"{url}/gatherings/room", **how)
            told = (answer["type"], answer["code"], answer["message"], code)
            assert told == ("error", "unauthorized", why, 4003), name
        assert hall.gatherings() == ()
    assert SECRET_PART not in logged(caplog)


def two_headers(*values: str) -> HandshakeRequest:
    return HandshakeRequest(path="/", headers=[("Authorization", value) for value in values])


async def test_two_headers_are_two_tokens(ours: JwtAuthenticator) -> None:
    assert (await ours(None, "room", two_headers(f"Bearer {GOOD}", f"Bearer {GOOD}"))).user
    for values in (
        (f"Bearer {GOOD}", f"Bearer {OTHER}"),
        (f"Bearer {GOOD}", "Bearer"),
    ):
        with pytest.raises(Unauthorized, match=DIFFERENT):
            await ours(None, "room", two_headers(*values))
    with pytest.raises(Unauthorized, match=NOT_VALID):
        await ours(None, "room", two_headers(f"Bearer {GOOD}, Bearer {GOOD}"))


async def test_a_cookie_counts_where_one_is_named(tmp_path: Path) -> None:
    deaf = door(tmp_path, "EdDSA")
    request = HandshakeRequest(path="/", headers=[("Cookie", f"session={GOOD}; ={GOOD}")])
    with pytest.raises(Unauthorized, match=NEEDED):
        await deaf(None, "room", request)


# A token in the URL never counts.


@pytest.mark.parametrize(
    "query",
    [
        "token={}",
        "a=b&token={}",
        "access_token={}",
        "TOKEN={}",
        "%74oken={}",
        "token",
        "a;token={}",
    ],
)
@every_way
async def test_a_token_in_the_url_is_refused(
    query: str, way: Way, ours: JwtAuthenticator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(way, authenticate=ours) as (hall, _, url):
        target = f"{url}/gatherings/room?{query.format(GOOD)}"
        if way is our_server:
            with pytest.raises(AssertionError, match="status_code=400"):
                await spoken(target)
        else:
            answer, code, _ = await spoken(target, join=GOOD)
            assert (answer["message"], code) == (TOKEN_IN_URL, 4003)
        assert hall.gatherings() == ()
    assert SECRET_PART not in logged(caplog)


async def test_other_queries_are_none_of_our_business(ours: JwtAuthenticator) -> None:
    async with serving(our_server, authenticate=ours) as (_, _, url):
        for query in ("tokens=1", "a=token", "mytoken=1", "t0ken", "a=b&c"):
            answer, *_ = await spoken(f"{url}/gatherings/room?{query}", join=GOOD)
            assert answer["type"] == "joined"


# A page of another origin sends a cookie.


@every_way
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
async def test_a_page_from_elsewhere_cant_use_the_cookie(
    way: Way, origin: str, ours: JwtAuthenticator
) -> None:
    """The cookie doesn't count, even if the program itself has let the page in."""
    headers = [("Cookie", f"session={GOOD}"), ("Origin", origin)]
    async with serving(way, ServerSettings(allow_origins=["*"]), authenticate=ours) as (_, _, url):
        answer, code, _ = await spoken(f"{url}/gatherings/room", headers=headers)
        assert (answer["message"], code) == (NOT_ALLOWED, 4003)
        # A token that the page itself sends counts: the page has it.
        answer, *_ = await spoken(f"{url}/gatherings/room", headers=headers[1:], join=GOOD)
        assert answer["type"] == "joined"


@every_way
async def test_a_page_of_ours_may_use_the_cookie(way: Way, tmp_path: Path) -> None:
    listed = door(tmp_path, "EdDSA", cookie="session", allow_origins=["https://app.example"])
    everywhere = ServerSettings(allow_origins=["*"])
    async with serving(way, everywhere, authenticate=listed) as (_, _, url):
        for origin, is_good in (
            ("https://app.example", True),
            ("HTTPS://App.Example:443", True),
            ("http://app.example", False),
            (url.replace("ws", "http"), False),
        ):
            headers = [("Cookie", f"session={GOOD}"), ("Origin", origin)]
            answer, *_ = await spoken(f"{url}/gatherings/room", headers=headers)
            assert (answer["type"] == "joined") is is_good, origin


@pytest.mark.parametrize("way", [our_server, over_hypercorn])
async def test_a_page_from_elsewhere_isnt_let_in_at_all(way: Way, ours: JwtAuthenticator) -> None:
    async with serving(way, authenticate=ours) as (_, _, url):
        for origin in ("https://evil.example", "null", f"{url.replace('ws', 'http')}1"):
            with pytest.raises(AssertionError, match="status_code=403"):
                await spoken(f"{url}/gatherings/room", headers=[("Origin", origin)], join=GOOD)
        headers = [("Origin", url.replace("ws", "http")), ("Cookie", f"session={GOOD}")]
        answer, *_ = await spoken(f"{url}/gatherings/room", headers=headers)
        assert answer["type"] == "joined"


# A token that doesn't cover a gathering.


class Watched(MemoryStore):
    """A store that notes whether it is asked anything."""

    asked: list[str]

    async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
        self.asked.append(gathering)
        return await super().load(gathering, recent_syncs=recent_syncs)


@every_way
async def test_nobody_learns_which_gatherings_there_are(way: Way, ours: JwtAuthenticator) -> None:
    """A living, a sleeping and an unknown gathering get the same answer, without a look-up.

    So the time of the answer tells a client nothing.
    """
    store = Watched()
    store.asked = []
    async with serving(way, authenticate=ours, store=store) as (hall, _, url):
        for name in ("living", "sleeping"):
            await hall.submit(name, [{"a": 1}], identity=Identity("bob"))
        await hall.disperse("sleeping")
        before = list(store.asked)
        answers = []
        for name in ("living", "sleeping", "never", "x" * 128):
            for resume in (None, "incarnation"):

                def ask(name: str = name, resume: str | None = resume) -> object:
                    with RawClient(f"{url}/gatherings/{name}") as client:
                        more = {} if resume is None else {"resume": resume, "since": 10**6}
                        client.say(type="join", token=GOOD, **more)
                        answer, close = client.hear(), client.hear_close()
                        return answer, close.code, close.reason

                answers.append(await trio.to_thread.run_sync(ask))
        assert answers == [answers[0]] * 8
        assert answers[0] == (
            {"type": "error", "code": "unauthorized", "message": NOT_COVERED},
            4003,
            NOT_COVERED,
        )
        assert store.asked == before == ["living", "sleeping"]
        assert hall.gatherings() == ("living",)


# Keys change while clients are connected.


@every_way
async def test_keys_are_rotated_while_clients_are_connected(way: Way, tmp_path: Path) -> None:
    rotated = door(tmp_path, "EdDSA")
    new = token("EdDSA", 1)
    file = tmp_path / "EdDSA-0"
    async with serving(way, authenticate=rotated) as (_, _, url):
        client = await trio.to_thread.run_sync(RawClient, f"{url}/gatherings/room")
        client.say(type="join", token=GOOD)
        assert (await trio.to_thread.run_sync(client.hear))["type"] == "joined"
        assert (await spoken(f"{url}/gatherings/room", join=new))[0]["message"] == NOT_VALID
        file.write_bytes(public_pem("EdDSA", 1))
        await trio.to_thread.run_sync(rotated.reload)
        assert (await spoken(f"{url}/gatherings/room", join=GOOD))[0]["message"] == NOT_VALID
        assert (await spoken(f"{url}/gatherings/room", join=new))[0]["type"] == "joined"
        # A client that has joined stays.
        client.say(type="sync", id="1", base=0, ops=[{"a": 1}])
        assert (await trio.to_thread.run_sync(client.hear))["seqs"] == [1]
        client.socket.close()


async def test_the_clock_goes_on(tmp_path: Path) -> None:
    now = NOW
    aging = door(tmp_path, "EdDSA", clock=lambda: now)
    assert (await aging(GOOD, "room")).user == "alice"
    now += 3610
    with pytest.raises(Unauthorized, match="expired"):
        await aging(GOOD, "room")


# Rights end with the token; another token renews them.


async def test_rights_end_when_the_token_does(tmp_path: Path) -> None:
    for leeway in (0, 10.5):
        identity = await door(tmp_path, "EdDSA", leeway=leeway)(GOOD, "room")
        assert identity.expires_at == NOW + 3600 + leeway


@every_way
async def test_a_token_renews_what_another_has_begun(way: Way, ours: JwtAuthenticator) -> None:
    """The new token counts alone: a cookie of the request, say, can't contradict it."""
    async with serving(way, authenticate=ours) as (_, _, url):

        def talk_on() -> list[tuple[object, ...]]:
            headers = [("Authorization", f"Bearer {GOOD}")]
            told: list[tuple[object, ...]] = []
            with RawClient(f"{url}/gatherings/room", headers=headers) as client:
                client.say(type="join")
                assert client.hear()["type"] == "joined"
                for text in (
                    token(exp=NOW + 7200, role="judge"),
                    token(sub="mallory"),
                    token(gatherings=["club-*"]),
                    token(exp=NOW - 60),
                    GOOD[:-4] + "AAAA",
                ):
                    client.say(type="refresh", id="1", token=text)
                    heard = client.hear()
                    told.append((heard["type"], heard.get("role"), heard.get("code")))
                client.say(type="sync", id="2", base=0, ops=[{"a": 1}])
                assert client.hear()["type"] == "synced"
            return told

        assert await trio.to_thread.run_sync(talk_on) == [
            ("refreshed", "judge", None),
            ("error", None, "forbidden"),
            ("error", None, "unauthorized"),
            ("error", None, "unauthorized"),
            ("error", None, "unauthorized"),
        ]
