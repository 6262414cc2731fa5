"""The live stream: who may watch, what a viewer is told, and what that costs others."""

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from squire_gatherings import EndRules, Hall, Identity, open_hall
from squire_gatherings._admin.live.news import PERIOD, Reporter, Watched
from squire_gatherings._admin.live.shapes import Asked
from squire_gatherings._admin.live.viewers import MOST_VIEWERS
from squire_gatherings._hall import board as board_module
from squire_gatherings._hall.board import Board, View
from squire_gatherings._hall.parts import board_of, observer_of
from squire_gatherings._values.numbers import Stage
from tests.admin.port import Port, open_port
from tests.admin.watching import watching
from tests.support import Recorder


def reporter_of(hall: Hall) -> Reporter:
    return Reporter(Watched(hall, observer_of(hall), board_of(hall)))


async def viewers(port: Port) -> float:
    text = (await port.client.get("/metrics")).text
    line = next(one for one in text.splitlines() if one.startswith("squire_admin_viewers "))
    return float(line.partition(" ")[2])


# Over HTTP.


async def test_a_viewer_is_told_of_what_it_asks_for(tmp_path: Path) -> None:
    async with open_port(tmp_path) as port:
        for name in ("alpha", "beta", "gamma"):
            await port.hall.open(name)
        await port.hall.join("beta", Recorder(), identity=Identity("alice"))
        async with watching(port) as viewer:
            assert viewer.hello["store"] == port.hall.store.name
            first = await viewer.next()
            assert first is not None
            assert (first["number"], first["hall"]["open"]) == (0, 3)
            news = await viewer.ask(sort="id")
            assert news["order"] == {"offset": 0, "ids": ["alpha", "beta", "gamma"], "matched": 3}
            assert [row["clients"] for row in news["rows"]] == [0, 1, 0]
            news = await viewer.ask(sort="id", search="ET")
            # What is known already isn't told again.
            assert (news["order"]["ids"], news["order"]["matched"]) == (["beta"], 1)
            assert "rows" not in news
            news = await viewer.ask(sort="clients", descending=True, offset=1, count=1)
            assert news["order"]["ids"] == ["gamma"]
            assert news["order"]["matched"] == 3
            news = await viewer.ask(sort="id", min_clients=1, gathering="beta")
            assert news["order"]["ids"] == ["beta"]
            assert news["close"]["members"][0]["user"] == "alice"
            assert news["close"]["why"]["rule"] == "idle"


async def test_nobody_watches_without_the_token(tmp_path: Path) -> None:
    async with open_port(tmp_path) as port:
        answer = await port.stranger.get("/live")
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        async with watching(port) as viewer:
            path = f"/live/{viewer.hello['viewer']}"
            assert (await port.stranger.post(path, json={})).status_code == 401
            bodies: list[Any] = [
                {"count": 201},
                {"offset": -1},
                {"sort": "colour"},
                {"more": 1},
                [],
            ]
            for body in bodies:
                answer = await port.client.post(path, json=body)
                assert (answer.status_code, answer.json()["code"]) == (400, "bad_body"), body
            answer = await port.client.post(path, content=b"{}")
            assert answer.status_code == 415
        answer = await port.client.post("/live/somebody", json={})
        assert (answer.status_code, answer.json()["code"]) == (404, "no_viewer")


async def test_viewers_are_counted_and_limited(tmp_path: Path) -> None:
    async with open_port(tmp_path) as port:
        async with AsyncExitStack() as stack:
            for _ in range(MOST_VIEWERS):
                await stack.enter_async_context(watching(port))
            assert await viewers(port) == MOST_VIEWERS
            answer = await port.client.get("/live")
            assert (answer.status_code, answer.json()["code"]) == (503, "too_many_viewers")
        with trio.fail_after(20):
            while await viewers(port):
                await trio.lowlevel.checkpoint()
        async with watching(port):
            assert await viewers(port) == 1


async def test_a_session_that_ends_ends_its_stream(tmp_path: Path) -> None:
    async with open_port(tmp_path) as port, watching(port) as viewer:
        await viewer.ask()
        (tmp_path / "token").write_text("another-token-that-is-long-enough-to-be-one")
        port.admin.reload()
        await viewer.wait_ended()


async def test_streams_end_when_the_port_is_to_stop(tmp_path: Path) -> None:
    async with open_port(tmp_path) as port, watching(port) as viewer:
        await viewer.ask()
        port.admin.stop()
        await viewer.wait_ended()


async def test_one_who_reads_nothing_costs_others_nothing(tmp_path: Path) -> None:
    async with open_port(tmp_path, close_grace=1.0) as port:
        for number in range(200):
            await port.hall.open(f"a-gathering-with-a-long-name-{number}" + "x" * 80)
        stuck = trio.socket.socket()
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await stuck.connect(("127.0.0.1", port.admin.addresses[0][1]))
        authorization = f"Authorization: Bearer {port.token}\r\n\r\n"
        await stuck.send(f"GET /live HTTP/1.1\r\nHost: localhost\r\n{authorization}".encode())
        async with watching(port) as viewer:
            assert len((await viewer.ask(count=200))["rows"]) == 200
            assert await viewers(port) == 2
            await viewer.next()
        stuck.close()


# What is told, and when.


@pytest.fixture
async def hall() -> AsyncIterator[Hall]:
    async with open_hall(idle_timeout=100.0) as hall:
        yield hall


async def report(reporter: Reporter, asked: Asked) -> dict[str, Any]:
    """Return news as a viewer gets it."""
    news: dict[str, Any] = msgspec.to_builtins(await reporter.report(asked))
    return news


async def test_only_what_has_changed_is_told(hall: Hall, autojump_clock: MockClock) -> None:
    for name in ("a", "b"):
        await hall.open(name)
    reporter, asked = reporter_of(hall), Asked(count=10, sort="id", gathering="a")
    first = await report(reporter, asked)
    assert [row["id"] for row in first["rows"]] == ["a", "b"]
    assert {"close", "hall", "order"} < set(first)
    await trio.sleep(5)
    again = await report(reporter, asked)
    assert set(again) == {"now", "wall", "number"}
    await hall.submit("b", [{}])
    third = await report(reporter, asked)
    assert [(row["id"], row["seq"]) for row in third["rows"]] == [("b", 1)]
    assert "close" not in third
    await hall.disperse("a")
    fourth = await report(reporter, asked)
    assert fourth["order"]["ids"] == ("b",)
    assert fourth["close"]["row"] is None
    assert fourth["close"]["end"]["reason"] == "admin"
    assert [end["id"] for end in fourth["ends"]] == ["a"]
    assert "ends" not in await report(reporter, asked)


async def test_there_is_news_once_a_period_and_at_each_end_that_is_seen(
    hall: Hall, autojump_clock: MockClock
) -> None:
    await hall.open("later")
    await hall.open("soon", EndRules(max_age=3.4))
    reporter, asked = reporter_of(hall), Asked(count=10)
    began, told = trio.current_time(), []
    while trio.current_time() < began + 6:
        news = await reporter.report(asked)
        if news.ends:
            told.append((news.ends[0].id, round(trio.current_time() - began, 3)))
        assert reporter.next_at <= trio.current_time() + PERIOD
        await trio.sleep_until(reporter.next_at)
    assert told == [("soon", 3.45)]
    # One that isn't seen isn't waited for.
    await hall.open("unseen", EndRules(max_age=0.5))
    unseen = reporter_of(hall)
    await unseen.report(Asked(count=0))
    assert unseen.next_at == trio.current_time() + PERIOD


async def test_the_end_that_is_told_is_exact_and_a_hold_moves_it(
    hall: Hall, autojump_clock: MockClock
) -> None:
    await hall.open("a", EndRules(max_age=50.0))
    reporter, asked = reporter_of(hall), Asked(count=10, gathering="a")
    began = trio.current_time()
    news = await report(reporter, asked)
    assert news["rows"][0]["at"] == news["close"]["why"]["at"] == round(began + 50.0, 3)
    hall.hold("a", until=observer_of(hall).wall() + 500.0, by="june")
    news = await report(reporter, asked)
    row, why = news["rows"][0], news["close"]["why"]
    assert row["held"]
    assert row["at"] == pytest.approx(trio.current_time() + 500.0, abs=5)
    assert why["moved"]["by"] == "june"
    ends = {"idle": round(began + 86_400.0, 3), "max_age": round(began + 50.0, 3)}
    assert why["ends"] == ends


async def test_too_many_ends_are_counted(hall: Hall, autojump_clock: MockClock) -> None:
    reporter = reporter_of(hall)
    await reporter.report(Asked())
    for _ in range(1010):
        observer_of(hall).tally.lifetimes.add(1.0)
    await hall.open("a")
    await hall.disperse("a")
    news = await reporter.report(Asked())
    assert (len(news.ends), news.missed) == (1, 1010)


async def test_rates_are_what_was_processed_in_a_second(
    hall: Hall, autojump_clock: MockClock
) -> None:
    await hall.open("quiet")
    board = board_of(hall)
    for _ in range(4):
        await board.order(View())
        for _ in range(30):
            await hall.submit("busy", [{}])
        await trio.sleep(3)
    await board.order(View())
    rates = {line.gathering: line.rate for line in board.lines(["busy", "quiet"])}
    assert rates == {"busy": pytest.approx(10.0), "quiet": 0.0}
    order = await board.order(View(sort="rate", descending=True))
    assert order.ids == ("busy", "quiet")
    await trio.sleep(6)
    assert board.lines(["busy"])[0].rate == 0.0


# The order.


@pytest.mark.parametrize("most", [1000, 20])
async def test_the_order_is_that_of_all_however_many(
    hall: Hall, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(board_module, "MOST", most)
    monkeypatch.setattr(board_module, "SLICE", 8)
    names = [f"{(number * 7919) % 100_003:05}" for number in range(131)]
    for name in names:
        await hall.open(name)
    board = board_of(hall)
    for descending in (False, True):
        order = await board.order(View(sort="id", descending=descending))
        assert order.ids == tuple(sorted(names, reverse=descending))[:most]
        assert order.matched == len(names)
    some = [name for name in names if "77" in name]
    assert (await board.order(View(sort="id", search="77"))).matched == len(some)
    assert (await board.order(View(stage=Stage.ENDING))).ids == ()


async def test_an_order_reaches_as_far_as_is_seen(hall: Hall, autojump_clock: MockClock) -> None:
    for number in range(400):
        await hall.open(f"g{number:03}")
    reporter = reporter_of(hall)
    news = await report(reporter, Asked(count=10, sort="id"))
    assert (news["order"]["ids"][-1], news["order"]["matched"]) == ("g009", 400)
    for offset in (110, 250, 395, 400):
        news = await report(reporter, Asked(offset=offset, count=10, sort="id"))
        wanted = tuple(f"g{number:03}" for number in range(offset, min(offset + 10, 400)))
        assert news["order"] == {"offset": offset, "ids": wanted, "matched": 400}


async def test_others_get_their_turn_during_a_walk(
    hall: Hall, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board_module, "SLICE", 8)
    for number in range(80):
        await hall.open(f"g{number}")
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        await board_of(hall).order(View())
        nursery.cancel_scope.cancel()
    assert turns >= 20


async def test_walks_take_a_small_part_of_the_time(
    hall: Hall, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hall.open("a")
    walks: list[float] = []
    walk = Board.order

    async def counted(board: Board, view: View, reach: int) -> Any:
        walks.append(trio.current_time())
        order = await walk(board, view, reach)
        return type(order)(order.ids, order.matched, 0.5)

    monkeypatch.setattr(Board, "order", counted)
    watched = Watched(hall, observer_of(hall), board_of(hall))
    reporter = Reporter(watched)
    with watched.viewers.place():
        for _ in range(25):
            await reporter.report(Asked(count=5))
            await trio.sleep_until(reporter.next_at)
        # Half a second of work: once in ten seconds.
        assert len(walks) == 3
        # Another view is answered at once.
        await reporter.report(Asked(count=5, search="a"))
        assert len(walks) == 4
