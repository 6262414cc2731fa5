"""The browser client in a real Chromium, against the real server. Skipped without Chromium."""

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from squire_gatherings import Identity
from squire_gatherings.client import open_client
from tests.browser.world import check, open_site, open_tabs, open_world
from tests.chromium import MISSING
from tests.forked import serving
from tests.support import examples

ENTER = "\ue007"

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

REPORT = "return life.report()"
DOCS = Path(__file__).parent.parent.parent / "docs" / "browser.md"


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with open_site() as origin:
        yield origin


async def test_tabs_have_the_log_after_many_cuts(session: str, site: str) -> None:
    async with (
        open_world(site, faults=examples(30)) as world,
        open_tabs(session, site, world.url) as tabs,
    ):
        opened = [await tabs.open(alone=1), await tabs.open(alone=1)]
        await tabs.all(opened, "life.begin()")
        await world.proxy.over.wait()
        await tabs.all(opened, "await life.stop()")
        log = await world.log()
        reports = await tabs.all(opened, "return await life.reach(given[0])", len(log))
        check(log, reports)
        # One tab leads, and the other one goes through it; those that are alone lead themselves.
        assert sorted(one["leads"] for one in reports) == [False, True, True, True]


async def test_the_page_of_the_docs(session: str, site: str) -> None:
    [page] = re.findall(r"```html\n(.*?)```", DOCS.read_text(), re.DOTALL)
    async with (
        open_world(site) as world,
        open_tabs(session, site, world.url) as tabs,
        open_client(world.url) as client,
        client.join("friday-42", since=0) as other,
    ):
        browser = tabs.browser
        await browser.switch(await browser.new_tab())
        await browser.go(f"{site}/page.html?url={world.url}")
        await tabs.ready()
        # As if it had been served there.
        await browser.run(
            "document.open(); document.write(arguments[0]); document.close()",
            page.replace("ws://localhost:8765", world.url),
        )
        await browser.eventually("() => document.forms.length === 1")
        await browser.click("input")
        await browser.press(*"alice", ENTER)
        said = "() => document.querySelector('li')?.textContent"
        assert await browser.eventually(said) == "alice, says somebody"
        # It is shown before it is durable.
        assert (await anext(other)).op == {"winner": "alice"}
        await world.hall.disperse("friday-42")
        await browser.eventually("() => document.querySelector('output').value === 'asleep'")
        await browser.click("input")
        await browser.press(*"bob", ENTER)
        await browser.eventually("() => document.querySelectorAll('li').length === 2")
        assert [change async for change in other] == []
        await other.rejoin()
        assert (await anext(other)).op == {"winner": "bob"}


async def test_tabs_are_closed_and_duplicated(session: str, site: str) -> None:
    async with (
        open_world(site) as world,
        open_tabs(session, site, world.url) as tabs,
    ):
        opened = [await tabs.open(), await tabs.open(), await tabs.open()]
        await tabs.all(opened, "life.begin()")
        for _ in range(2):
            # The one that leads goes, in the middle of things, and another one comes.
            leads = [one["leads"] for one in await tabs.all(opened, REPORT)]
            leader = opened.pop(leads.index(True))
            await tabs.close(leader)
            opened.append(await tabs.open())
            await tabs.all(opened[-1:], "life.begin()")
        await tabs.all(opened, "await life.stop()")
        log = await world.log()
        reports = await tabs.all(opened, "return await life.reach(given[0])", len(log))
        check(log, reports)
        assert [one["leads"] for one in reports].count(True) == 1
        # What the tabs that are gone had asked for was asked for by those that came after them.
        assert {uid.partition(" ")[0] for uid in log} > {
            uid.partition(" ")[0] for one in reports for _, uid in one["own"]
        }


async def test_what_is_asked_without_a_network_survives_a_reload(session: str, site: str) -> None:
    async with (
        open_world(site) as world,
        open_tabs(session, site, world.url) as tabs,
    ):
        tab = await tabs.open()
        await tabs.all([tab], "await life.submit(2)")
        world.proxy.go_away()
        await tabs.browser.eventually("() => life.room.status !== 'open'")
        await tabs.all([tab], "for (let n = 0; n < 20; n++) life.submit(2)")
        shown = [uid for _, uid in (await tabs.all([tab], REPORT))[0]["state"]]
        assert len(shown) == 42, "what isn't answered is shown"
        await tabs.all([tab], "await life.room.kept()")
        await tabs.browser.reload()
        await tabs.ready()
        # It is shown again, and stays unanswered: of the page before, and another reload.
        await tabs.browser.eventually("() => life.room.pending.length === 20")
        await tabs.browser.reload()
        await tabs.ready()
        await tabs.browser.eventually("() => life.room.pending.length === 20")
        assert [uid for _, uid in (await tabs.all([tab], REPORT))[0]["state"]] == shown[2:]
        world.proxy.is_away = False
        [report] = await tabs.all([tab], "return await life.reach(42)")
        check(await world.log(), [report])
        assert [uid for _, uid in report["state"]] == shown
        # They are of this browser, but not of this life of the page.
        assert [mine for _, _, mine in report["seen"]] == [False, False] + 40 * [True]
        await tabs.browser.reload()
        await tabs.ready()
        [report] = await tabs.all([tab], "return await life.reach(42)")
        assert report["pending"] == 0
        assert len(await world.log()) == 42


async def test_a_page_that_stands_still_goes_on(session: str, site: str) -> None:
    async with (
        open_world(site) as world,
        open_tabs(session, site, world.url) as tabs,
    ):
        browser = tabs.browser
        tab, other = await tabs.open(), await tabs.open()
        await tabs.all([tab, other], "await life.submit()")
        # The tab that leads goes elsewhere: the other one leads.
        await browser.switch(tab)
        assert await browser.run("return life.room.leads")
        await browser.go(f"{site}/life.js")
        await tabs.all([other], "await life.submit(3)")
        assert await browser.run("return life.room.leads")
        # And comes back: out of the cache of pages, or anew.
        await browser.switch(tab)
        await browser.back()
        await tabs.ready()
        cached = await browser.run("return window.events.includes('back')")
        reports = await tabs.all([tab, other], "return await life.reach(5)")
        # A page that was loaded anew doesn't know what was its own before.
        check(await world.log(), reports if cached else reports[1:])
        # It is frozen, while others go on, and wakes.
        await browser.switch(tab)
        for state in ("frozen", "active"):
            await browser.cdp("Page.setWebLifecycleState", state=state)
            if state == "frozen":
                await tabs.all([other], "await life.submit(2)")
                await browser.switch(tab)
        reports = await tabs.all([tab, other], "return await life.reach(7)")
        check(await world.log(), reports if cached else reports[1:])


async def test_a_network_that_comes_back_is_noticed_at_once(session: str, site: str) -> None:
    async with (
        open_world(site) as world,
        open_tabs(session, site, world.url) as tabs,
    ):
        tab = await tabs.open()
        await tabs.all([tab], "await life.submit()")
        conditions = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        await tabs.browser.cdp("Network.enable")
        world.proxy.go_away()
        await tabs.browser.cdp("Network.emulateNetworkConditions", offline=True, **conditions)
        await tabs.browser.eventually("() => events.includes('offline')")
        await tabs.browser.eventually("() => life.room.status !== 'open'")
        world.proxy.is_away = False
        await tabs.all([tab], "life.submit()")
        await tabs.browser.cdp("Network.emulateNetworkConditions", offline=False, **conditions)
        await tabs.browser.eventually("() => events.includes('online')")
        reports = await tabs.all([tab], "return await life.reach(2)")
        check(await world.log(), reports)


async def test_a_dispersal_is_no_failure(session: str, site: str) -> None:
    async with (
        open_world(site) as world,
        open_tabs(session, site, world.url) as tabs,
    ):
        opened = [await tabs.open(), await tabs.open()]
        await tabs.all(opened, "await life.submit()")
        await world.hall.disperse("room")
        for tab in opened:
            await tabs.browser.switch(tab)
            await tabs.browser.eventually("() => life.room.status === 'asleep'")
        reports = await tabs.all(opened, REPORT)
        assert [[end["reason"] for end in one["ends"]] for one in reports] == [["admin"], ["admin"]]
        # It sleeps until somebody wants something: here the tab that doesn't lead.
        await tabs.all([opened[1]], "await life.submit()")
        log = await world.log()
        check(log, await tabs.all(opened, "return await life.reach(given[0])", len(log)))


async def test_another_client_with_the_same_id_takes_the_place(session: str, site: str) -> None:
    script = """
    const { connect } = await import("/squire-gatherings/index.js");
    const options = { client: "a-secret-of-16-characters", tabs: false };
    const [one, two] = [connect(given[0], "room", options), connect(given[0], "room", options)];
    const over = Promise.race([one, two].map((room) => new Promise((resolve) => {
      room.addEventListener("closed", ({ detail }) => resolve(detail.code));
    })));
    return [await over, await one.submit({ uid: "one" }).catch(({ code }) => code),
      await two.submit({ uid: "two" }).catch(({ code }) => code)];
    """
    async with (
        open_world(site) as world,
        open_tabs(session, site, world.url) as tabs,
    ):
        tab = await tabs.open()
        [[code, *answers]] = await tabs.all([tab], script, world.url)
        assert code == "replaced"
        # It doesn't fight back.
        assert sorted(map(str, answers)) == ["[1]", "replaced"]


async def test_rights_are_renewed_on_the_same_connection(session: str, site: str) -> None:
    script = """
    const { connect } = await import("/squire-gatherings/index.js");
    const [asked, statuses] = [[], []];
    const token = async (why) => (asked.push(why), `token ${asked.length}`);
    const room = connect(given[0], "another", { tabs: false, token });
    room.addEventListener("status", ({ detail }) => statuses.push(detail));
    while (asked.length < 3) await new Promise((resolve) => setTimeout(resolve, 20));
    const seqs = await room.submit({ uid: "one" });
    await room.close();
    return { asked, statuses, seqs, user: room.user };
    """
    tokens: list[str | None] = []

    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        if gathering_id == "another":
            tokens.append(token)
            return Identity("alice", expires_at=time.time() + 1.2)
        return Identity()

    async with (
        open_world(site, authenticate=authenticate) as world,
        open_tabs(session, site, world.url) as tabs,
    ):
        tab = await tabs.open()
        [said] = await tabs.all([tab], script, world.url)
        assert (said["seqs"], said["user"]) == ([1], "alice")
        # It is the same connection all the time. So short rights are always about to end.
        assert said["statuses"] == ["open", "closing", "closed"]
        assert said["asked"][:3] == ["join", "expired", "expired"]
        assert tokens[:3] == ["token 1", "token 2", "token 3"]


async def test_a_server_is_killed_and_restored(session: str, site: str, tmp_path: Path) -> None:
    options = ["--store", f"sqlite:///{tmp_path}/rooms.sqlite3", "--allow-origin", site]
    with ExitStack() as servers:
        _, url = servers.enter_context(serving(*options))
        async with open_tabs(session, site, url) as tabs:
            opened = [await tabs.open(alone=1), await tabs.open()]
            await tabs.all(opened, "life.begin()")
            for _ in range(min(examples(1), 5)):
                seqs = [one["seq"] for one in await tabs.all(opened, REPORT)]
                await tabs.all(opened, "await life.reachSome(given[0])", max(seqs) + 20)
                # Nothing is said any more: it's SIGKILL.
                servers.close()
                servers.enter_context(serving(*options, "--port", url.rpartition(":")[2]))
            await tabs.all(opened, "await life.stop()")
            [end, *_] = await tabs.all(opened, "return (await life.room.fetch()).seq")
            reports = await tabs.all(opened, "return await life.reach(given[0])", end)
            check([uid for _, uid in reports[0]["state"]], reports)
