"""The proof: only who knows the secret is believed, and nothing of it can be used elsewhere."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squire_gatherings._cluster.proof import MAC, MAGIC, NONCE, NotProven, Proof
from tests.support import examples

SECRET = b"s" * 32


def talk(one: Proof, other: Proof, sizes: list[int]) -> tuple[bytes, bytes]:
    """Let two sides talk in pieces of these sizes, until nothing more is said."""
    waiting = [(other, one.begin())]
    said = {id(one): waiting[0][1], id(other): b""}
    turn = 0
    while waiting:
        to, data = waiting.pop(0)
        answer = b""
        while data:
            size = sizes[turn % len(sizes)]
            turn += 1
            answer += to.take(data[:size])
            data = data[size:]
        if answer:
            said[id(to)] += answer
            waiting.append((one if to is other else other, answer))
    return said[id(one)], said[id(other)]


@given(st.lists(st.integers(1, 200), min_size=1, max_size=20), st.text(min_size=1, max_size=60))
@settings(max_examples=examples(25))
def test_both_prove_it_however_it_is_cut(sizes: list[int], name: str) -> None:
    one, other = Proof(SECRET, name, "answers"), Proof(SECRET, "answers")
    said = talk(one, other, sizes)
    assert one.is_done
    assert other.is_done
    assert (one.peer, other.peer) == ("answers", name)
    assert not any(SECRET in text for text in said)


def test_what_comes_right_after_it_is_kept() -> None:
    one, other = Proof(SECRET, "a", "b"), Proof(SECRET, "b")
    answer = other.take(one.begin())
    last = one.take(answer + b"rest")
    assert one.rest == b"rest"
    other.take(last + b"more")
    assert other.rest == b"more"


@pytest.mark.parametrize(
    ("asks", "answers"),
    [
        (Proof(SECRET, "a", "b"), Proof(b"t" * 32, "b")),
        (Proof(SECRET, "a", "b"), Proof(SECRET, "c")),
    ],
)
def test_who_asks_believes_no_other_secret_and_no_other_node(asks: Proof, answers: Proof) -> None:
    with pytest.raises(NotProven):
        asks.take(answers.take(asks.begin()))
    assert not asks.is_done
    assert not answers.is_done


def test_who_is_asked_believes_no_other_secret() -> None:
    asks, answers = Proof(SECRET, "a", "b"), Proof(SECRET, "b")
    answers.take(asks.begin())
    with pytest.raises(NotProven, match="secret"):
        answers.take(b"\0" * MAC)


def test_what_was_said_is_good_for_nothing_else() -> None:
    """Said again, to another one, to the same one, or back to who said it."""
    asks, answers = Proof(SECRET, "a", "b"), Proof(SECRET, "b")
    hello = asks.begin()
    answer = answers.take(hello)
    last = asks.take(answer)
    again = Proof(SECRET, "b")
    again.take(hello)
    with pytest.raises(NotProven):
        again.take(last)
    other = Proof(SECRET, "a", "b")
    other.begin()
    with pytest.raises(NotProven):
        other.take(answer)
    mirror = Proof(SECRET, "b")
    mirrored = mirror.take(hello)
    with pytest.raises(NotProven):
        # The MAC of who is asked isn't the one that it waits for.
        mirror.take(mirrored[-MAC:])


@pytest.mark.parametrize(
    "nonsense",
    [
        b"GET / HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n",
        b"\x16\x03\x01",
        MAGIC[:-1] + b"x",
        MAGIC + b"n" * NONCE + b"\0" + b"m" * MAC,
        MAGIC + b"n" * NONCE + b"\2\xff\xff" + b"m" * MAC,
    ],
)
@pytest.mark.parametrize("make", [lambda: Proof(SECRET, "b"), lambda: Proof(SECRET, "a", "b")])
def test_nonsense_is_no_proof(nonsense: bytes, make: Callable[[], Proof]) -> None:
    with pytest.raises(NotProven):
        make().take(nonsense)
