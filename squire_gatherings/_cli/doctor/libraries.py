"""Checks of Python and of the libraries that the settings need."""

import platform
import re
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from squire_gatherings._cli.doctor.findings import Finding, fail, ok
from squire_gatherings._cli.setup import Setup

NAME = "squire-gatherings"

_NEEDS = re.compile(
    r"(?P<name>[\w.-]+)>=(?P<least>[\d.]+)(;\s*extra == ['\"](?P<extra>\w+)['\"])?$"
)


def check_libraries(setup: Setup | None) -> Iterator[Finding]:
    """Check that what the settings need is installed, and new enough."""
    extras = extras_of(setup)
    wrong = [*wrong_libraries(requires(NAME) or [], extras)]
    for name, least, found in wrong:
        says = f"{name} isn't installed" if found is None else f"{name} {found} is too old"
        yield fail("libraries", says, f"pip install '{name}>={least}'")
    if not wrong:
        trio, ours = version("trio"), version(NAME)
        names = "".join(f", with the extra {one}" for one in sorted(extras))
        python = f"{platform.python_implementation()} {platform.python_version()}"
        yield ok("libraries", f"{NAME} {ours}, Trio {trio}, {python}{names}")


def extras_of(setup: Setup | None) -> set[str]:
    """Return the names of the extras that the settings need."""
    if setup is None:
        return set()
    needed = {
        "jwt": setup.auth.authenticator,
        "admin": setup.admin,
        "webhook": setup.webhook,
    }
    return {name for name, what in needed.items() if what is not None}


def wrong_libraries(
    requirements: Iterable[str], extras: set[str]
) -> Iterator[tuple[str, str, str | None]]:
    """Yield the name, the lowest version and the installed one of what isn't good."""
    for text in requirements:
        needs = _NEEDS.match(text)
        if needs is None or (needs["extra"] is not None and needs["extra"] not in extras):
            continue
        try:
            found = version(needs["name"])
        except PackageNotFoundError:
            yield needs["name"], needs["least"], None
            continue
        if _numbers(found) < _numbers(needs["least"]):
            yield needs["name"], needs["least"], found


def _numbers(text: str) -> tuple[int, ...]:
    begin = re.match(r"\d+(\.\d+)*", text)
    return () if begin is None else tuple(int(one) for one in begin[0].split("."))
