"""Where `benchmarks.resumes` cuts connections, and how it judges what listeners heard."""

import contextlib

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.resumes.__main__ import fault, judge, measure, rooms_of
from benchmarks.resumes.catalogue import LIBRARIES
from benchmarks.resumes.cuts import EVENT, AtByte, AtWord, Cuts, Way
from benchmarks.resumes.proxy import Link, serve_proxy
from tests.support import examples

[OURS] = [one for one in LIBRARIES if one.key == "ours"]


@pytest.mark.parametrize(
    ("room", "heard", "ended", "wrong"),
    [
        ("random-1", [1, 2, 3], False, None),
        ("random-1", [1, 3], False, "events missing"),
        ("random-1", [], False, "events missing"),
        ("random-1", [1, 2, 2, 3], False, "events twice"),
        ("random-1", [2, 1, 3], False, "out of order"),
        ("ending-1", [1, 2, 3], True, None),
        ("ending-1", [1, 2, 3], False, "not told of the end"),
    ],
)
def test_who_is_exact(room: str, heard: list[int], ended: bool, wrong: str | None) -> None:
    assert fault(room, heard, ended, 3) == wrong


def test_rooms_without_a_cut_dont_count() -> None:
    cuts = Cuts(seed=1)
    cuts.note("random-1")
    told = [{"room": f"random-{number}", "heard": [1], "ended": False} for number in (1, 2)]
    kind = judge(told, cuts, 1)["random"]
    assert (kind.rooms, kind.cuts, kind.exact) == (1, 1, 1)


def test_as_many_cuts_as_were_asked_for() -> None:
    for library in LIBRARIES:
        rooms = rooms_of(library, 1000)
        cuts = sum(2 if room.startswith("twice") else 1 for room in rooms)
        assert abs(cuts - 1000) < 5
        assert len(set(rooms)) == len(rooms)
        assert any(room.startswith("ending") for room in rooms) == library.ends


def test_cuts_are_the_same_for_the_same_seed() -> None:
    whole: dict[Way, int] = {"up": 1000, "down": 5000}
    one, same, other = Cuts(1, whole), Cuts(1, whole), Cuts(2, whole)
    rooms = [f"{kind}-{n}" for kind in ("whole", "random", "first", "twice") for n in range(20)]
    found = [[cuts.next(room) for room in rooms * 3] for cuts in (one, same, other)]
    assert found[0] == found[1] != found[2]
    assert not any(found[0][:20])
    assert all(found[0][20:80])
    assert all(found[0][140:160])
    assert not any(found[0][160:])


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    found = []
    for size in sizes:
        found.append(data[:size])
        data = data[size:]
    return [one for one in [*found, data] if one]


@given(st.lists(st.integers(1, 20)), st.integers(0, len(EVENT) - 1), st.binary(max_size=30))
@settings(max_examples=examples(100))
def test_a_cut_at_a_word_is_at_that_byte_however_it_comes(
    sizes: list[int], after: int, before: bytes
) -> None:
    data = before.replace(EVENT, b"") + EVENT + b"1"
    link = Link(None, None, "first-1", AtWord(EVENT, after))  # type: ignore[arg-type]
    passed = 0
    for piece in pieces(data, sizes):
        size = link.before_cut("down", piece)
        passed += len(piece) if size is None else size
        if size is not None:
            break
    start = data.index(EVENT)
    assert start <= passed <= start + len(EVENT)
    assert passed >= start + after


@given(st.lists(st.integers(1, 20)), st.integers(1, 60))
@settings(max_examples=examples(100))
def test_a_cut_at_a_byte_is_at_that_byte_however_it_comes(sizes: list[int], count: int) -> None:
    link = Link(None, None, "random-1", AtByte("up", count))  # type: ignore[arg-type]
    assert link.before_cut("down", bytes(100)) is None
    passed = 0
    for piece in pieces(bytes(60), sizes):
        size = link.before_cut("up", piece)
        passed += len(piece) if size is None else size
        if size is not None:
            break
    assert passed == count


async def test_the_proxy_passes_on_so_many_bytes_and_cuts_both_ends(
    nursery: trio.Nursery,
) -> None:
    ended = trio.Event()

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"x" * 99 + EVENT)
            with contextlib.suppress(trio.BrokenResourceError):
                assert not await stream.receive_some()
            ended.set()

    listeners = await nursery.start(trio.serve_tcp, answer, 0)
    cuts = Cuts(seed=1)
    port = await nursery.start(serve_proxy, cuts, listeners[0].socket.getsockname()[1])
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"GET /first-2 HTTP/1.1\r\n\r\n")
        heard = b""
        try:
            while data := await stream.receive_some():
                heard += data
        except trio.BrokenResourceError:
            pass
    await ended.wait()
    assert heard[:99] == b"x" * 99
    assert EVENT not in heard
    assert cuts.made == {"first-2": 1}
    nursery.cancel_scope.cancel()


async def test_our_own_listeners_come_back_exact() -> None:
    kinds = await measure(OURS, 8, 3, 8, 1)
    assert {"random", "first", "twice", "ending"} >= set(kinds) >= {"first", "ending"}
    for one in kinds.values():
        assert one.exact == one.rooms > 0
        assert not one.faults
