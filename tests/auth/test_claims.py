"""Claims: a token must have well-formed claims that are true now and meant for us."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squire_gatherings import JwtAuthenticator, Unauthorized
from squire_gatherings._auth.claims import (
    EXPIRED,
    NOT_COVERED,
    NOT_FOR_US,
    NOT_FROM_THEM,
    NOT_YET,
)
from squire_gatherings._auth.patterns import check_pattern, covers
from tests.auth.forge import CLAIMS, NOW, door, forge, signer, token
from tests.support import examples


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> JwtAuthenticator:
    return door(tmp_path_factory.mktemp("keys"), "EdDSA")


async def refusal(authenticator: JwtAuthenticator, text: str, gathering_id: str = "room") -> str:
    with pytest.raises(Unauthorized) as raised:
        await authenticator(text, gathering_id)
    return str(raised.value)


NO_TIMES: list[Any] = [
    True,
    False,
    "1800003600",
    "",
    -1,
    -0.5,
    253_402_300_800,
    1e300,
    10**2000,
    [1800003600],
    {"exp": 1},
]


@pytest.mark.parametrize("value", [None, *NO_TIMES], ids=lambda value: f"{value!r:.12}")
async def test_an_exp_that_is_none(value: Any, ours: JwtAuthenticator) -> None:
    assert "the token's exp isn't" in await refusal(ours, token(exp=value))


@pytest.mark.parametrize("text", ["null", "1e999", "-1e999"])
async def test_an_exp_that_only_json_can_say(text: str, ours: JwtAuthenticator) -> None:
    said = json.dumps(CLAIMS | {"exp": 0}).replace('"exp": 0', f'"exp": {text}').encode()
    made = forge({"alg": "EdDSA"}, said, signer("EdDSA"))
    assert "the token's exp isn't" in await refusal(ours, made)


@pytest.mark.parametrize("value", NO_TIMES, ids=lambda value: f"{value!r:.12}")
async def test_an_nbf_that_is_none(value: Any, ours: JwtAuthenticator) -> None:
    assert "the token's nbf isn't" in await refusal(ours, token(nbf=value))


async def test_clocks_may_differ_a_little(ours: JwtAuthenticator) -> None:
    assert (await ours(token(exp=NOW - 9.9, nbf=NOW + 10), "room")).user == "alice"
    assert await refusal(ours, token(exp=NOW - 10)) == EXPIRED
    assert await refusal(ours, token(exp=0)) == EXPIRED
    assert await refusal(ours, token(nbf=NOW + 10.1)) == NOT_YET
    assert (await ours(token(exp=int(NOW) + 1), "room")).user == "alice"


async def test_how_much_is_for_the_program_to_say(tmp_path: Path) -> None:
    strict = door(tmp_path, "EdDSA", leeway=0)
    assert await refusal(strict, token(exp=NOW)) == EXPIRED
    assert (await strict(token(exp=NOW + 0.1, nbf=NOW), "room")).user == "alice"


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("sub", None),
        ("sub", ""),
        ("sub", 7),
        ("sub", ["alice"]),
        ("role", 1),
        ("role", ""),
        ("role", ["admin"]),
        ("iss", 1),
        ("iss", ""),
        ("aud", 1),
        ("aud", []),
        ("aud", [1]),
        ("aud", {"a": 1}),
        ("gatherings", None),
        ("gatherings", "*"),
        ("gatherings", {"*": True}),
        ("gatherings", ["room", 1]),
        ("gatherings", ["room", None]),
        ("gatherings", ["room"] * 65),
    ],
)
async def test_a_claim_of_the_wrong_kind_is_named(
    claim: str, value: Any, ours: JwtAuthenticator
) -> None:
    text = await refusal(ours, token(**{claim: value}))
    assert text == f"the token's {claim} isn't what it must be, or missing"


@pytest.mark.parametrize("user", ["x" * 1025, "\ud800"])
async def test_a_user_that_can_be_none(user: str, ours: JwtAuthenticator) -> None:
    assert await refusal(ours, token(sub=user)) == "the token's sub or role can't be one"


async def test_a_null_isnt_a_claim_that_is_left_out(ours: JwtAuthenticator) -> None:
    for claim in ("role", "nbf", "aud", "iss", "gatherings", "sub"):
        made = forge({"alg": "EdDSA"}, CLAIMS | {claim: None}, signer("EdDSA"))
        assert f"the token's {claim} isn't" in await refusal(ours, made)


async def test_the_audience(tmp_path: Path, ours: JwtAuthenticator) -> None:
    rooms = door(tmp_path, "EdDSA", audience="rooms")
    for good in ("rooms", ["rooms"], ["shop", "rooms"]):
        assert (await rooms(token(aud=good), "room")).user == "alice"
    for bad in (None, "shop", ["shop"], "Rooms", "rooms ", ["rooms2"]):
        assert await refusal(rooms, token(aud=bad)) == NOT_FOR_US
    # A server without a name refuses a token that names an audience.
    assert await refusal(ours, token(aud="rooms")) == NOT_FOR_US


async def test_the_issuer(tmp_path: Path, ours: JwtAuthenticator) -> None:
    picky = door(tmp_path, "EdDSA", issuer="https://id.example/")
    assert (await picky(token(iss="https://id.example/"), "room")).user == "alice"
    for bad in (None, "https://id.example", "https://ID.example/", "https://evil.example/"):
        assert await refusal(picky, token(iss=bad)) == NOT_FROM_THEM
    assert (await ours(token(iss="anybody"), "room")).user == "alice"


# The gatherings that a token covers.


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "**",
        "*room",
        "r*m",
        "room**",
        "?",
        "room?",
        "[a-z]*",
        "{a,b}",
        ".*$",
        "^.*",
        "(a+)+$",
        "room\n",
        "ro om",
        "/room",
        "../*/x",
        "%2A",
        "%",
        "ca\u0301fe*",
        "\u2217",
        "x" * 129,
        "x" * 5000,
    ],
    ids=lambda pattern: f"{pattern!r:.20}",
)
async def test_what_is_no_pattern_is_good_for_nothing(pattern: str, ours: JwtAuthenticator) -> None:
    if len(pattern) < 2000:
        text = await refusal(ours, token(gatherings=["room", pattern]))
        assert text == "the token's gatherings isn't what it must be, or missing"
    with pytest.raises(ValueError, match="a pattern is a gathering's id"):
        check_pattern(pattern)


@pytest.mark.parametrize(
    ("patterns", "gathering_id", "is_good"),
    [
        (["room"], "room", True),
        (["room"], "Room", False),
        (["room"], "room2", False),
        (["room"], "roo", False),
        (["room*"], "room", True),
        (["room*"], "room2", True),
        (["room*"], "a-room", False),
        (["*"], "anything", True),
        ([], "room", False),
        (["a", "b", "room"], "room", True),
        (["a.c"], "abc", False),
        (["x" * 128 + "*"], "x" * 128, True),
        (["."], "room", False),
    ],
)
async def test_what_a_token_covers(
    patterns: list[str], gathering_id: str, is_good: bool, ours: JwtAuthenticator
) -> None:
    made = token(gatherings=patterns)
    if is_good:
        assert (await ours(made, gathering_id)).user == "alice"
    else:
        assert await refusal(ours, made, gathering_id) == NOT_COVERED


IDS = st.text("ab.~-", min_size=1, max_size=6)


@settings(max_examples=examples(200))
@given(st.lists(st.tuples(IDS, st.booleans()), max_size=4), IDS)
def test_patterns_are_as_a_regular_expression_has_them(
    parts: list[tuple[str, bool]], gathering_id: str
) -> None:
    patterns = [check_pattern(text + "*" * is_open) for text, is_open in parts]
    model = any(
        re.fullmatch(re.escape(text) + (".*" if is_open else ""), gathering_id)
        for text, is_open in parts
    )
    assert covers(patterns, gathering_id) is model
