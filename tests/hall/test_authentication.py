"""Authentication: what a program's check is told, how long it may take, and its result."""

import math
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from squire_gatherings import (
    AuthenticationUnavailable,
    BadSetting,
    HandshakeRequest,
    Identity,
    Unauthorized,
    open_hall,
)
from tests.support import Recorder

REQUEST = HandshakeRequest(
    path="/gatherings/room?a=b",
    headers=[
        ("Host", "here"),
        ("X-One", "1"),
        ("x-one", "2"),
        ("Cookie", "session=abc; theme=dark"),
        ("Cookie", 'session=second; odd[]=x; quoted="a b"'),
    ],
    peer="192.0.2.7",
    subprotocols=["squire.v1+json"],
)


async def test_a_check_with_two_parameters_sees_token_and_gathering() -> None:
    seen: list[object] = []

    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        seen.append((token, gathering_id))
        return Identity("alice")

    async with open_hall(authenticate=authenticate) as hall:
        membership = await hall.join("room", Recorder(), token="t", request=REQUEST)
        assert membership.identity == Identity("alice")
    assert seen == [("t", "room")]


@pytest.mark.parametrize("request_", [REQUEST, None])
async def test_a_check_with_three_sees_the_request(request_: HandshakeRequest | None) -> None:
    seen: list[object] = []

    class Door:
        async def __call__(self, *asked: object) -> Identity:
            seen.append(asked)
            return Identity("alice")

    async with open_hall(authenticate=Door()) as hall:
        await hall.join("room", Recorder(), request=request_)
    assert seen == [(None, "room", request_)]


async def test_an_identity_from_the_program_is_not_checked() -> None:
    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        raise AssertionError

    async with open_hall(authenticate=authenticate) as hall:
        membership = await hall.join("room", Recorder(), identity=Identity("bob"), request=REQUEST)
        assert membership.identity == Identity("bob")


async def test_a_check_that_takes_too_long_is_given_up(autojump_clock: MockClock) -> None:
    cancelled = []

    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.append(trio.current_time())
        raise AssertionError

    async with open_hall(authenticate=authenticate, authenticate_timeout=7) as hall:
        start = trio.current_time()
        with pytest.raises(AuthenticationUnavailable):
            await hall.join("room", Recorder())
        assert cancelled == [start + 7] == [trio.current_time()]
        assert not hall.gatherings()


async def test_a_check_may_take_for_ever(autojump_clock: MockClock) -> None:
    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        await trio.sleep(80_000)
        return Identity("alice")

    async with open_hall(authenticate=authenticate, authenticate_timeout=math.inf) as hall:
        await hall.join("room", Recorder())


@pytest.mark.parametrize("value", [0, -1, math.nan, None, "1"])
async def test_the_limit_is_a_time(value: Any) -> None:
    with pytest.raises(BadSetting, match="authenticate_timeout"):
        async with open_hall(authenticate_timeout=value):
            raise AssertionError


async def test_time_in_which_nothing_ran_is_not_held_against_the_check(
    mock_clock: MockClock,
) -> None:
    calls = 0

    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        nonlocal calls
        calls += 1
        if calls == 1:
            # The whole process stops, while the answer would have come long ago.
            mock_clock.jump(60)
            await trio.lowlevel.checkpoint()
        return Identity("alice")

    async with open_hall(authenticate=authenticate, authenticate_timeout=7) as hall:
        membership = await hall.join("room", Recorder())
        assert membership.identity == Identity("alice")
    assert calls == 2


@pytest.mark.parametrize("error", [Unauthorized("no"), AuthenticationUnavailable("later")])
async def test_what_the_check_raises_comes_out(error: Exception) -> None:
    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        raise error

    async with open_hall(authenticate=authenticate) as hall:
        with pytest.raises(type(error)) as raised:
            await hall.join("room", Recorder())
        assert raised.value is error
        assert not hall.gatherings()


async def test_a_check_that_returns_nonsense_is_a_bug() -> None:
    async def authenticate(token: str | None, gathering_id: str) -> Any:
        return "alice"

    async with open_hall(authenticate=authenticate) as hall:
        with pytest.raises(TypeError, match="an Identity, not 'alice'"):
            await hall.join("room", Recorder())


async def test_cancelling_a_join_cancels_its_check(autojump_clock: MockClock) -> None:
    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        await trio.sleep_forever()
        raise AssertionError

    async with open_hall(authenticate=authenticate) as hall:
        with trio.move_on_after(1) as scope:
            await hall.join("room", Recorder())
        assert scope.cancelled_caught
        assert trio.current_time() == pytest.approx(1, abs=0.5)


def test_headers_whatever_their_case() -> None:
    assert REQUEST.header("host") == "here"
    assert REQUEST.header("X-ONE") == "1, 2"
    assert REQUEST.header("authorization") is None


def test_cookies() -> None:
    assert REQUEST.cookies["session"] == "abc"
    assert REQUEST.cookies["theme"] == "dark"
    assert REQUEST.cookies["quoted"] == "a b"
    assert HandshakeRequest(path="/").cookies == {}


def test_any_cookie_header_can_be_read() -> None:
    for text in ("=" * 16000, ";" * 16000, '"' * 16000, "a=" + "\\" * 16000, "a=b; " * 3000):
        assert len(HandshakeRequest(path="/", headers=[("cookie", text)]).cookies) <= 1


def test_secrets_are_not_shown() -> None:
    assert "abc" not in repr(REQUEST)
    assert "a=b" not in repr(REQUEST)
