"""The tutorial, step by step: its commands in processes, its page in Chromium, its server.

Only ports are changed. What `pip install .` gives is tested by the wheel.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from attrs import define

from tests.chromium import MISSING, PATIENCE, Browser, open_session
from tests.cli.process import READY

ROOT = Path(__file__).parent.parent.parent
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TUTORIAL, re.DOTALL | re.MULTILINE)
INSTALL, SERVE, COPY, SITE, SUBMIT, WATCH, OWN = [code for kind, code in BLOCKS if kind == "sh"]
[PAGE] = [code for kind, code in BLOCKS if kind == "html"]
[SERVER] = [code for kind, code in BLOCKS if kind == "python"]

ENTER = "\ue007"
ITEMS = "[...document.querySelectorAll('li button')].map((one) => one.textContent).join('; ')"


@define
class Reader:
    """Somebody who follows the tutorial, in a folder that looks like the repository."""

    folder: Path
    changes: list[tuple[str, str]]

    def changed(self, code: str) -> str:
        """Return code with the ports that were free."""
        for old, new in self.changes:
            code = code.replace(old, new)
        return code

    def run(self, command: str) -> str:
        """Run a command that ends; return what it prints."""
        done = subprocess.run(
            ["sh", "-ec", self.changed(command)],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        return done.stdout

    @contextmanager
    def running(self, command: str) -> Iterator[subprocess.Popen[str]]:
        """Run a command for as long as the block lasts."""
        with subprocess.Popen(
            shlex.split(self.changed(command)),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.terminate()

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Run the tutorial's server, and note its port; give the URL of its admin port."""
        command = SERVE.replace(" serve ", " serve --port 0 --admin-port 0 ")
        with self.running(command) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(2)]
            assert lines[0].startswith(READY), lines
            self.changes.append(("8765", lines[0].strip().rpartition(":")[2]))
            yield re.findall(r"http://[\d.:]+", lines[1])[0]


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    (tmp_path / "squire_gatherings").symlink_to(ROOT / "squire_gatherings")
    return Reader(tmp_path, [(".venv/bin/python", f"{sys.executable} -u")])


def test_the_commands(reader: Reader) -> None:
    """Without a browser: a page's folder, a room, and what the terminal shows of it."""
    assert INSTALL == "python3 -m venv .venv\n.venv/bin/pip install .\n"
    reader.run(COPY)
    assert (reader.folder / "room" / "squire-gatherings" / "index.js").exists()
    with reader.serving():
        assert reader.run(SUBMIT) == "1\n"
        with reader.running(WATCH) as watching:
            assert watching.stdout is not None
            lines = [watching.stdout.readline() for _ in range(2)]
    assert lines[0].startswith("joined to-do at seq 1")
    assert '"Make tea"' in lines[1]


@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
async def test_the_page(reader: Reader, tmp_path_factory: pytest.TempPathFactory) -> None:
    with ExitStack() as running:
        reader.run(COPY)
        site = running.enter_context(reader.running(SITE.replace("8000", "0")))
        assert site.stdout is not None
        port = re.findall(r"port (\d+)", site.stdout.readline())[0]
        reader.changes.append(("8000", port))

        server = ExitStack()
        admin = server.enter_context(reader.serving())
        running.push(server)
        (reader.folder / "room" / "index.html").write_text(reader.changed(PAGE))

        session = running.enter_context(open_session(tmp_path_factory.mktemp("chromium")))
        client = httpx.AsyncClient(trust_env=False, timeout=PATIENCE + 10)
        async with client:
            browser = Browser(client, session)
            [one] = await browser.tabs()
            other = await browser.new_tab()

            async def shows(*items: str) -> None:
                for tab in (one, other):
                    await browser.switch(tab)
                    await browser.eventually(f"() => {ITEMS} === arguments[0]", "; ".join(items))

            async def add(text: str) -> None:
                await browser.click("input")
                await browser.press(*text, ENTER)

            async def says(status: str) -> None:
                await browser.eventually(
                    "(status) => document.querySelector('output').value === status", status
                )

            for tab in (one, other):
                await browser.switch(tab)
                await browser.go(f"http://localhost:{port}")

            # 2 and 3: it is in both, whoever adds it; a click says that it is done.
            await add("Sweep")
            await shows("Sweep")
            assert reader.run(SUBMIT) == "2\n"
            await shows("Sweep", "Make tea")
            await browser.click("li button")
            await browser.switch(one)
            await browser.eventually("() => document.querySelector('li button').disabled")

            # 5: it disperses (an operator is quicker than two minutes), and comes back.
            disperse = f"disperse to-do --yes --admin {admin}"
            reader.run(f".venv/bin/python -m squire_gatherings {disperse}")
            await says("asleep")
            await add("Cook")
            await browser.switch(other)
            await says("asleep")
            await browser.click("h1")
            await shows("Sweep", "Make tea", "Cook")
            await browser.switch(one)

            # 4 and 6: the server stops; another one, with rules, goes on with the log.
            server.close()
            await says("pausing")
            await add("Wait")
            (reader.folder / "server.py").write_text(reader.changed(SERVER))
            running.enter_context(reader.running(OWN))
            await says("open")
            await shows("Sweep", "Make tea", "Cook", "Wait")
            await add("x" * 41)
            await says("say it in 1 to 40 characters")
            await shows("Sweep", "Make tea", "Cook", "Wait")
