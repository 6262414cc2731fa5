"""The page in a real browser: what an operator sees and does, and that anybody can.

Without Chromium and its driver these tests are skipped, and say so.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from squire_gatherings import EndRules, Identity
from squire_gatherings._hall.parts import observer_of
from squire_gatherings.testing import SharedMemory
from tests.admin.port import Port, open_port, serving
from tests.axe import AXE, Axe
from tests.chromium import MISSING, PATIENCE, Browser
from tests.nodes.world import open_node
from tests.support import Recorder

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

ENTER, ESCAPE, DOWN, END, TAB = "\ue007", "\ue00c", "\ue015", "\ue010", "\ue004"


@asynccontextmanager
async def opened(session: str, port: Port, *, log_in: bool = True) -> AsyncIterator[Browser]:
    """Open the page in the browser."""
    url = str(port.client.base_url)
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=PATIENCE + 10) as client:
        browser = Browser(client, session)
        await browser.size(1280, 800)
        await browser.prefer(color_scheme="light", reduced_motion="no-preference")
        await browser.go(f"{url}/page/icon.svg")
        log = "return (await fetch('/login', {method: 'POST', body: arguments[0], "
        log += "headers: {'Content-Type': 'application/json'}})).status"
        if log_in:
            assert await browser.promised(log, f'{{"token": "{port.token}"}}') == 204
        await browser.go(url)
        if log_in:
            await browser.eventually("() => document.querySelector('.rows .row') !== null")
        yield browser
        await browser.go("about:blank")


async def open_one(browser: Browser, name: str) -> None:
    """Open one gathering as somebody does who has no mouse."""
    await browser.press("/")
    await browser.press(*name, ENTER)
    await browser.eventually(
        "(name) => [...document.querySelectorAll('.rows .row')]"
        ".map((row) => row.dataset.id).join() === name",
        name,
    )
    # The list has the focus, and its first row the cursor.
    await browser.press(ENTER)
    await browser.eventually(
        "(name) => document.getElementById('one-title')?.textContent === name"
        " && !document.querySelector('[data-action=hold]').disabled",
        name,
    )


async def test_logging_in(session: str, tmp_path: Path) -> None:
    async with open_port(tmp_path) as port:
        await port.hall.open("friday-night")
        async with opened(session, port, log_in=False) as browser:
            await browser.eventually("() => !document.getElementById('login').hidden")
            await browser.eventually("() => document.activeElement.id === 'token'")
            await browser.press(*"not-the-token", ENTER)
            said = "() => document.getElementById('login-error').textContent"
            assert await browser.eventually(said) == "Not logged in: that isn't the token."
            await browser.run("document.getElementById('token').value = arguments[0]", port.token)
            await browser.press(ENTER)
            await browser.eventually("() => document.querySelector('.rows .row') !== null")
            assert await browser.text(".rows .name") == "friday-night"
            # The token is kept nowhere that a script could read.
            kept = "return document.cookie + JSON.stringify({...localStorage, ...sessionStorage})"
            assert port.token not in await browser.run(kept)
            await browser.click("#log-out")
            await browser.eventually("() => document.getElementById('hall').hidden")
            assert await browser.run("return document.querySelector('.rows .row')") is None


async def test_the_countdown_reaches_zero_when_the_gathering_goes(
    session: str, tmp_path: Path
) -> None:
    async with open_port(tmp_path) as port:
        await port.hall.open("later")
        async with opened(session, port) as browser:
            await port.hall.open("soon", EndRules(max_age=2.0))
            watched = await browser.promised(
                """
                const seen = [];
                await new Promise((resolve) => {
                  const look = () => {
                    const time = document.querySelector('[data-id="soon"] .time');
                    if (time && seen.at(-1)?.text !== time.textContent)
                      seen.push({ text: time.textContent, at: Date.now() / 1000 });
                  };
                  const observer = new MutationObserver((records) => {
                    for (const { target, addedNodes, removedNodes } of records) {
                      if (target.matches?.('[data-id="soon"] .time') || target.className === "time")
                        for (const node of addedNodes) seen.push({
                          text: node.textContent, at: Date.now() / 1000,
                          id: target.closest(".row")?.dataset.id ?? null });
                      for (const node of removedNodes)
                        if (node.dataset?.id === "soon") { observer.disconnect(); resolve(); }
                    }
                  });
                  observer.observe(document.querySelector(".rows"),
                    { childList: true, subtree: true });
                  look();
                });
                return seen.filter((one) => one.id === undefined || one.id === "soon");
                """
            )
            ended = observer_of(port.hall).tally.last[-1]
            assert (ended.gathering, ended.reason, ended.processed) == ("soon", "max_age", 0)
            assert watched[-1]["text"] == "0.0 s"
            zeros = [one["at"] for one in watched if one["text"] == "0.0 s"]
            assert ended.lateness is not None
            # It depends on how fast this machine asks itself; exactly it is in rules/.
            assert min(zeros) == pytest.approx(ended.ended_at - ended.lateness, abs=1.0)
            left = [float(one["text"].partition(" ")[0]) for one in watched]
            assert left == sorted(left, reverse=True)
            # And it is among the last ends.
            await browser.eventually("() => document.querySelector('.ends td.name') !== null")
            assert await browser.text(".ends td.name") == "soon"


async def test_hold_and_extend_move_the_end(session: str, tmp_path: Path) -> None:
    async with open_port(tmp_path) as port:
        await port.hall.open("friday-night", EndRules(max_age=900.0))
        await port.hall.submit("friday-night", [{"a": 1}])
        await port.hall.open("other")
        async with opened(session, port) as browser:
            await open_one(browser, "friday-night")
            # What happened before anybody watched is known of the log.
            await browser.eventually(
                "() => document.querySelector('.life rect[data-kind=busy]') !== null"
            )
            before = port.hall.explain("friday-night").deadline
            await browser.click("[data-action=hold]")
            assert await browser.run("return document.activeElement.tagName") == "SELECT"
            await browser.click("#dialog [type=submit]")
            await browser.eventually(
                "() => document.querySelector('.one .badge').textContent === 'held'"
            )
            held = port.hall.explain("friday-night")
            assert held.deadline == pytest.approx(before + 2700, abs=60)
            assert held.moved.what == "hold"
            shown = await browser.text("[data-id='friday-night'] .time")
            assert shown.startswith(("59:", "1:00:"))
            said = "() => document.getElementById('said').textContent"
            assert str(await browser.eventually(said)).startswith("friday-night is held until")
            # The dialog is gone, and what was focused before is focused again.
            focused = "() => document.activeElement.dataset.action === 'hold'"
            await browser.eventually(focused)
            await browser.click("[data-action=extend]")
            await browser.click("#dialog [type=submit]")
            await browser.eventually(
                "() => /^(1:59|2:00):/.test("
                "document.querySelector('[data-id=friday-night] .time').textContent)"
            )
            assert port.hall.explain("friday-night").deadline == pytest.approx(
                held.deadline + 3600, abs=1
            )


async def test_disperse_is_confirmed_and_done(session: str, tmp_path: Path) -> None:
    async with open_port(tmp_path) as port:
        connection, user = Recorder(), "<img src=x onerror='document.title = 1'>"
        await port.hall.join("friday-night", connection, identity=Identity(user))
        async with opened(session, port) as browser:
            await open_one(browser, "friday-night")
            assert await browser.text(".members td") == user
            assert await browser.run("return document.querySelectorAll('.members img').length") == 0
            await browser.click("[data-action=disperse]")
            text = await browser.text("#dialog")
            assert "Its one member is told, and disconnected." in text
            # Enter alone does no harm, and Escape closes the dialog and nothing else.
            assert await browser.run("return document.activeElement.textContent") == "Cancel"
            await browser.press(ESCAPE)
            await browser.eventually("() => !document.getElementById('dialog').open")
            assert await browser.text("#one-title") == "friday-night"
            assert not connection.closed
            await browser.click("[data-action=disperse]")
            await browser.press(TAB, ENTER)
            await browser.eventually("() => document.querySelector('.one[data-over]') !== null")
            assert len(connection.closed) == 1
            assert "by an operator" in await browser.text(".one .at")
            await browser.press(ESCAPE)
            await browser.eventually("() => document.getElementById('one').hidden")
            await browser.eventually("() => document.querySelector('.rows .row') === null")


async def test_the_list_is_as_long_as_it_is_and_has_few_elements(
    session: str, tmp_path: Path
) -> None:
    async with open_port(tmp_path) as port:
        async with trio.open_nursery() as nursery:
            for number in range(300):
                nursery.start_soon(port.hall.open, f"g{number:03}")
        async with opened(session, port) as browser:
            await browser.run(
                "const sort = document.getElementById('sort'); sort.value = 'id';"
                "sort.dispatchEvent(new Event('change'))"
            )
            await browser.eventually(
                "() => document.querySelector('.rows .row').dataset.id === 'g000'"
            )
            await browser.run("document.getElementById('grid').focus()")
            await browser.press(DOWN, DOWN)
            active = "document.getElementById(document.getElementById('grid')"
            active += ".getAttribute('aria-activedescendant'))"
            assert await browser.run(f"return {active}.dataset.id") == "g002"
            await browser.press(END)
            await browser.eventually(f"() => {active}?.dataset.id === 'g299'")
            shown: dict[str, Any] = await browser.run(
                "const grid = document.getElementById('grid');"
                "const rows = [...grid.querySelectorAll('.rows .row')];"
                "return { count: grid.getAttribute('aria-rowcount'), rows: rows.length,"
                " indexes: rows.map((row) => Number(row.getAttribute('aria-rowindex'))),"
                " ids: rows.map((row) => row.dataset.id), scrolled: grid.scrollTop }"
            )
            assert shown["count"] == "301"
            assert shown["rows"] < 80
            # In the document they stand in their order, and the header is the first row.
            first = shown["indexes"][0]
            assert shown["indexes"] == list(range(first, 302))
            assert shown["ids"] == [f"g{index - 2:03}" for index in shown["indexes"]]
            assert shown["scrolled"] > 8000


async def test_it_says_when_it_is_cut_off(session: str, tmp_path: Path) -> None:
    async with open_port(tmp_path) as port:
        await port.hall.open("a")
        async with opened(session, port) as browser:
            state = "() => document.getElementById('state').dataset.state"
            await browser.eventually(f"() => ({state})() === 'live'")
            port.admin.stop()
            await browser.eventually(f"() => ({state})() === 'lost'")


async def test_axe_finds_nothing(session: str, tmp_path: Path) -> None:
    axe = Axe()
    async with open_port(tmp_path) as port:
        await port.hall.join("friday-night", Recorder(), identity=Identity("alice"))
        await port.hall.open("soon", EndRules(max_age=50.0))
        await port.hall.open("now", EndRules(max_age=9.0, warn_before=1.0))
        for name in ("gone", "away"):
            await port.hall.open(name)
            await port.hall.disperse(name)
        await port.hall.open("quick", EndRules(max_age=0.01))
        port.hall.hold("friday-night", until=observer_of(port.hall).wall() + 1e5)
        async with opened(session, port, log_in=False) as browser:
            await browser.eventually("() => !document.getElementById('login').hidden")
            await axe.look(browser, "login")
        async with opened(session, port) as browser:
            await browser.eventually("() => document.querySelector('.ends td.name') !== null")
            await axe.look(browser, "list")
            await browser.size(360, 720)
            await axe.look(browser, "narrow list")
            await browser.click("[data-show=ends]")
            await axe.look(browser, "narrow ends")
            await browser.click("[data-show=list]")
            await browser.size(1280, 800)
            await open_one(browser, "friday-night")
            await axe.look(browser, "one")
            await browser.click("[data-action=hold]")
            await axe.look(browser, "dialog")
            await browser.run("document.getElementById('dialog').close()")
            await browser.size(360, 720)
            width = await browser.run("return document.documentElement.scrollWidth")
            assert width <= 360
            await axe.look(browser, "narrow one")
            # It would say so.
            await browser.run("document.getElementById('grid').removeAttribute('aria-labelledby')")
            await browser.run("document.querySelector('.big').style.color = '#222'")
            await browser.run("document.querySelector('.lead').role = 'nonsense'")
            assert len(await browser.promised(AXE, None)) >= 2
    axe.check()


async def test_the_nodes_are_shown(session: str, tmp_path: Path) -> None:
    shared, axe = SharedMemory(lease=2.0, margin=0.2), Axe()
    summary = "() => document.querySelector('#nodes:not([hidden]) summary')?.textContent"
    async with (
        open_node(shared, "one") as one,
        open_node(shared, "two") as two,
        serving(one.hall, tmp_path) as port,
    ):
        await one.hall.open("friday-night")
        await two.hall.open("saturday")
        async with opened(session, port) as browser:
            await browser.eventually(f"() => ({summary})() === '2 nodes, all up'")
            await browser.click("#nodes summary")
            rows = "() => [...document.querySelectorAll('#nodes tbody tr')].map((row) =>"
            rows += " [...row.cells].slice(0, 3).map((cell) => cell.textContent).join(' '))"
            await browser.eventually(f"() => ({rows})().join() === 'one (this one) up 1,two up 1'")
            await axe.look(browser, "nodes")
            await browser.size(360, 720)
            await axe.look(browser, "narrow nodes")
            await two.hall.drain()
            await browser.eventually(f"() => ({summary})() === '2 nodes: two drains'")
            await two.kill()
            await browser.eventually(f"() => ({summary})() === '1 node'")
    axe.check()


async def test_a_hall_that_is_alone_shows_no_nodes(session: str, tmp_path: Path) -> None:
    async with open_port(tmp_path) as port:
        await port.hall.open("friday-night")
        async with opened(session, port) as browser:
            assert await browser.run("return document.getElementById('nodes').hidden")
