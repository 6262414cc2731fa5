"""The page in a real browser: a report from a phone, a dispute, sleep, and waking by a touch."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from examples.swiss_night.site import start_next_round, tournament_of
from squire_gatherings import Identity
from tests.axe import Axe
from tests.chromium import MISSING, PATIENCE, Browser
from tests.examples.swiss_night.test_site import JUDGE, Site, open_one

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

SIGN_IN = """
const form = document.querySelector("form");
form.querySelector(`[value=${arguments[1]}]`).click();
form.querySelector("[name=name]").value = arguments[0];
form.requestSubmit();
"""
NIGHT = "friday-night"


@asynccontextmanager
async def on_a_phone(session: str, site: Site) -> AsyncIterator[Browser]:
    async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as client:
        browser = Browser(client, session)
        await browser.size(360, 740)
        await browser.go(f"{site.url}/#{NIGHT}")
        yield browser
        await browser.run("localStorage.clear()")
        await browser.go("about:blank")


async def press(browser: Browser, selector: str) -> None:
    """Press what is there, or soon will be."""
    condition = "(selector) => document.querySelector(selector)?.click() ?? null"
    pressing = f"(selector) => document.querySelector(selector) && (({condition})(selector), true)"
    await browser.eventually(pressing, selector)


async def reads(browser: Browser, selector: str, text: str) -> None:
    """Wait until it says that."""
    await browser.eventually(
        "(selector, text) => document.querySelector(selector)?.textContent.includes(text)",
        selector,
        text,
    )


async def test_a_player_reports_and_a_judge_decides(session: str, tmp_path: Path) -> None:
    async with open_one(tmp_path) as site, on_a_phone(session, site) as browser:
        plan = {"do": "plan", "title": "Corner shop", "rounds": 2, "minutes": 50}
        enter = [{"do": "enter", "player": name} for name in ("Ada", "Bruno", "Chiara")]
        await site.hall.submit(NIGHT, [plan, *enter], identity=JUDGE)
        await browser.eventually("() => document.querySelector('form')")
        await browser.run(SIGN_IN, "Zoe", "player")
        await reads(browser, "#title", "Corner shop")
        await press(browser, "#main button.primary")
        await reads(browser, "#mine", "You are in")

        await start_next_round(site.hall, NIGHT, JUDGE)
        await reads(browser, "#mine", "against")
        assert await browser.run("return document.documentElement.scrollWidth") <= 360
        night = await tournament_of(site.hall, NIGHT)
        match = night.rounds[0].match_of("Zoe")
        assert match is not None
        [opponent] = [name for name in match.players if name != "Zoe"]
        assert (await browser.text("#clock")).startswith(("50:0", "49:5"))

        # Both report: Zoe by the page, that she won 2-1; the other one, that she lost.
        await press(browser, '[aria-label="I won 2–1"]')
        await reads(browser, "#mine", f"Waiting for {opponent}")
        lost = [0, 2, 0] if match.first == "Zoe" else [2, 0, 0]
        op = {"do": "report", "round": 1, "games": lost}
        await site.hall.submit(NIGHT, [op], identity=Identity(opponent, "player"))
        await reads(browser, ".note.dispute", "Call a judge")
        ruling = {"do": "rule", "round": 1, "table": match.table, "games": lost}
        await site.hall.submit(NIGHT, [ruling], identity=JUDGE)
        await reads(browser, "#mine", "You lost 0–2. A judge has decided.")

        # Time travel: the log, and the tournament as it was when she reported.
        await press(browser, '[data-key="tab log"]')
        await press(browser, '[data-key="then 7"]')
        await reads(browser, ".note.then", "As it was after op 7")
        await reads(browser, "#room", "one report")
        await press(browser, '[data-key="now"]')
        await reads(browser, "#mine", "A judge has decided")


async def test_it_sleeps_and_a_touch_wakes_it(session: str, tmp_path: Path) -> None:
    async with open_one(tmp_path) as site, on_a_phone(session, site) as browser:
        await site.hall.submit(NIGHT, [{"do": "enter", "player": "Ada"}], identity=JUDGE)
        await browser.eventually("() => document.querySelector('form')")
        await browser.run(SIGN_IN, "Max", "observer")
        await reads(browser, "#room", "Ada")
        site.hall.change_rules(NIGHT, idle_timeout=0.05)
        await reads(browser, "#asleep", "This gathering went to sleep")
        await browser.eventually("() => !document.querySelector('#asleep').hidden")
        await reads(browser, "#asleep", "Nobody touched it for a while")
        await browser.click("#asleep button")
        await browser.eventually("() => document.querySelector('#asleep').hidden")
        await reads(browser, "#status", "Live")
        assert NIGHT in site.hall.gatherings()
        await site.hall.submit(NIGHT, [{"do": "enter", "player": "Bruno"}], identity=JUDGE)
        await reads(browser, "#room", "Ada, Bruno")


async def test_a_judge_runs_a_round_from_a_phone(session: str, tmp_path: Path) -> None:
    async with open_one(tmp_path) as site, on_a_phone(session, site) as browser:
        enter = [{"do": "enter", "player": name} for name in ("Ada", "Bruno")]
        await site.hall.submit(NIGHT, enter, identity=JUDGE)
        await browser.go("about:blank")
        await browser.go(f"{site.url}/#{NIGHT}&code=secret")
        await browser.eventually("() => document.querySelector('form')")
        await browser.run(SIGN_IN, "Olga", "judge")
        await browser.eventually("() => !location.hash.includes('secret')")
        await press(browser, '#judge [data-key="go"]')
        await press(browser, "#room button.line")
        await press(browser, '#dialog [aria-label$="won 2–0"]')
        await reads(browser, "#judge", "Round 1 is done")
        night = await tournament_of(site.hall, NIGHT)
        assert night.rounds[0].matches[0].result == (2, 0, 0)
        await press(browser, '[data-key="tab log"]')
        await press(browser, '[data-key="earlier"]')
        await reads(browser, "#room", "Olga enters Ada")
        await press(browser, '[aria-label="Take back op 4"]')
        await reads(browser, "#judge", "1 table plays")


async def test_axe_finds_nothing(session: str, tmp_path: Path) -> None:
    """In each view of a player, of a judge, and of one that sleeps."""
    axe = Axe()
    async with open_one(tmp_path) as site, on_a_phone(session, site) as browser:
        plan = {"do": "plan", "title": "Corner shop", "rounds": 2, "minutes": 50}
        enter = [{"do": "enter", "player": name} for name in ("Ada", "Bruno", "Chiara")]
        await site.hall.submit(NIGHT, [plan, *enter], identity=JUDGE)
        await browser.eventually("() => document.querySelector('form')")
        await axe.look(browser, "sign in")
        await browser.run(SIGN_IN, "Zoe", "player")
        await reads(browser, "#title", "Corner shop")
        await press(browser, "#main button.primary")
        await start_next_round(site.hall, NIGHT, JUDGE)
        await reads(browser, "#mine", "against")
        await axe.look(browser, "a match")
        for tab, shows in (("standings", "#room th"), ("log", '#room [data-key^="then "]')):
            await press(browser, f'[data-key="tab {tab}"]')
            await reads(browser, shows, "")
            await axe.look(browser, tab)
        await press(browser, '[data-key="earlier"]')
        await press(browser, '[data-key="then 3"]')
        await reads(browser, ".note.then", "As it was after op 3")
        await axe.look(browser, "as it was")
        await browser.run("localStorage.clear()")
        await browser.go("about:blank")
        await browser.go(f"{site.url}/#{NIGHT}&code=secret")
        await browser.eventually("() => document.querySelector('form')")
        await browser.run(SIGN_IN, "Olga", "judge")
        await press(browser, "#room button.line")
        await browser.eventually("() => document.querySelector('#dialog').open")
        await axe.look(browser, "a judge's dialog")
        site.hall.change_rules(NIGHT, idle_timeout=0.05)
        await reads(browser, "#asleep", "This gathering went to sleep")
        await axe.look(browser, "asleep")
    axe.check()
