"""axe-core: looks for what hinders people in a page, in the light and in the dark."""

from pathlib import Path

from attrs import define, field

from tests.chromium import Browser
from tests.npm import from_npm

FOLDER = Path(__file__).parent / "admin" / "page"
"""Where it is installed."""

AXE = """
const rules = arguments[0] ? { runOnly: arguments[0] } : {};
const found = await axe.run(document, { resultTypes: ["violations"], ...rules });
const told = (one) => `${one.id}: ${one.nodes.map((node) => node.html + " " +
  node.any.concat(node.all, node.none).map((check) => check.message).join("; ")).join("\\n")}`;
return found.violations.map(told);
"""


@define
class Axe:
    """What was found in each of several views."""

    source: str = field(factory=lambda: from_npm(FOLDER, "axe-core/axe.min.js").read_text())
    found: dict[str, list[str]] = field(factory=dict)

    async def look(self, browser: Browser, name: str) -> None:
        """Look at what a browser shows, and remember it by that name."""
        if not await browser.run("return 'axe' in window"):
            await browser.run(self.source)
        await browser.prefer(color_scheme="light")
        self.found[name] = await browser.promised(AXE, None)
        # In the dark only the colours differ.
        await browser.prefer(color_scheme="dark")
        self.found[f"{name}, dark"] = await browser.promised(AXE, ["color-contrast"])

    def check(self) -> None:
        """Fail if anything was found."""
        assert self.found == {name: [] for name in self.found}
