"""A real browser without a window: Chromium, driven over the W3C WebDriver protocol.

Nothing here waits by looking again and again: `eventually` waits within the page, for its changes.
"""

import base64
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import trio
from attrs import frozen

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
MISSING = None if CHROMIUM and DRIVER else "there is no chromium, or no chromedriver"

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
PATIENCE = 60
"""How many seconds the page may take to become what is waited for."""

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)

_EVENTUALLY = """
const [source, rest, done] = [arguments[0], arguments[1], arguments[2]];
const condition = new Function("return (" + source + ")(...arguments)");
let observer, frame;
const look = () => {
  const value = condition(...rest);
  if (!value && value !== 0) return false;
  observer.disconnect();
  clearInterval(frame);
  done(value);
  return true;
};
observer = new MutationObserver(look);
frame = setInterval(look, 50);
const what = { subtree: true, childList: true, attributes: true, characterData: true };
observer.observe(document, what);
look();
"""


@frozen
class Browser:
    """One session of a browser."""

    client: httpx.AsyncClient
    session: str

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = await self.client.request(method, f"{self.session}{path}", json=body)
        value = answer.json()["value"]
        assert answer.status_code == 200, value
        return value

    async def go(self, url: str) -> None:
        """Load a page."""
        await self._ask("POST", "/url", {"url": url})

    async def back(self) -> None:
        """Go back to the page before."""
        await self._ask("POST", "/back", {})

    async def reload(self) -> None:
        """Load the page anew."""
        await self._ask("POST", "/refresh", {})

    async def tabs(self) -> list[str]:
        """Return the handles of all tabs."""
        return [str(one) for one in await self._ask("GET", "/window/handles")]

    async def new_tab(self) -> str:
        """Open an empty tab; return its handle."""
        return str((await self._ask("POST", "/window/new", {"type": "tab"}))["handle"])

    async def switch(self, tab: str) -> None:
        """Have this tab in front."""
        await self._ask("POST", "/window", {"handle": tab})

    async def close_tab(self) -> None:
        """Close the tab in front; another one must be brought there then."""
        await self._ask("DELETE", "/window")

    async def run(self, script: str, *arguments: Any) -> Any:
        """Return what a function's body returns that is run in the page."""
        return await self._ask("POST", "/execute/sync", {"script": script, "args": arguments})

    async def promised(self, script: str, *arguments: Any) -> Any:
        """Return what the promise brings that a function's body returns."""
        made = "const done = arguments[arguments.length - 1]; "
        made += "(async function () {" + script + "}).apply(null, arguments).then(done, "
        made += "(error) => done({ failed: String(error) }));"
        return await self._ask("POST", "/execute/async", {"script": made, "args": arguments})

    async def eventually(self, condition: str, *arguments: Any) -> Any:
        """Wait until a function (its source) returns something else than nothing; return that."""
        body = {"script": _EVENTUALLY, "args": [condition, arguments]}
        return await self._ask("POST", "/execute/async", body)

    async def text(self, selector: str) -> str:
        """Return what an element says."""
        script = "return document.querySelector(arguments[0]).textContent"
        return str(await self.run(script, selector))

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other, as somebody does."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        source = {"type": "key", "id": "keyboard", "actions": actions}
        await self._ask("POST", "/actions", {"actions": [source]})

    async def click(self, selector: str) -> None:
        """Click on an element."""
        using = {"using": "css selector", "value": selector}
        found = await self._ask("POST", "/element", using)
        await self._ask("POST", f"/element/{found[ELEMENT]}/click", {})

    async def size(self, width: int, height: int) -> None:
        """Give the page so many pixels."""
        await self.cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    async def prefer(self, **features: str) -> None:
        """Say what somebody prefers (`prefers-…`), as the system's settings would."""
        made = [
            {"name": "prefers-" + name.replace("_", "-"), "value": value}
            for name, value in features.items()
        ]
        await self.cdp("Emulation.setEmulatedMedia", features=made)

    async def cdp(self, command: str, **parameters: Any) -> Any:
        """Ask the browser for what WebDriver can't."""
        body = {"cmd": command, "params": parameters}
        return await self._ask("POST", "/goog/cdp/execute", body)

    async def picture(self, file: Path) -> None:
        """Write a picture of the page."""
        picture = base64.b64decode(await self._ask("GET", "/screenshot"))
        await trio.Path(file).write_bytes(picture)


@contextmanager
def open_session(folder: Path) -> Iterator[str]:
    """Start the driver and the browser; yield the URL of the session."""
    assert DRIVER
    assert CHROMIUM
    driver = subprocess.Popen(
        [DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert driver.stdout is not None
    try:
        said = ""
        while not (port := re.search(r"successfully on port (\d+)", said)):
            said = driver.stdout.readline()
            assert said, "chromedriver ended at once"
        url = f"http://127.0.0.1:{port[1]}"
        options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={folder}"]}
        wanted = {
            "alwaysMatch": {
                "goog:chromeOptions": options,
                "timeouts": {"script": PATIENCE * 1000},
            }
        }
        with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
            answer = client.post(f"{url}/session", json={"capabilities": wanted})
            value = answer.json()["value"]
            assert answer.status_code == 200, value
            session = f"{url}/session/{value['sessionId']}"
            try:
                yield session
            finally:
                client.delete(session)
    finally:
        driver.terminate()
        driver.wait()
        driver.stdout.close()
