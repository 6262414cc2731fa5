"""The audit says what it couldn't check; pip-audit would say "no vulnerabilities"."""

import json
import sys
from typing import Any

import pytest

from tests.supply_chain.audit import main


def output(*packages: dict[str, Any]) -> list[str]:
    """Return a command that prints what pip-audit would."""
    return [sys.executable, "-c", f"print({json.dumps({'dependencies': packages})!r})"]


CLEAN = {"name": "trio", "version": "1", "vulns": []}
VULNERABLE = {
    "name": "h11",
    "version": "0.1",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["0.2"], "aliases": [], "description": ""}],
}
SKIPPED = {"name": "attrs", "skip_reason": "Dependency not found on PyPI"}
OURSELVES = {"name": "squire-gatherings", "skip_reason": "distribution marked as editable"}


@pytest.mark.parametrize(
    ("packages", "code", "says"),
    [
        ((CLEAN, OURSELVES), 0, "1 packages were checked, 0 vulnerabilities are known"),
        ((CLEAN, VULNERABLE), 1, "h11 0.1: PYSEC-1, mended in 0.2"),
        ((SKIPPED, OURSELVES), 2, "nothing was checked: no database"),
        ((CLEAN, SKIPPED), 2, "1 weren't checked: attrs"),
        ((), 2, "nothing was checked"),
    ],
)
def test_what_it_says(
    packages: tuple[dict[str, Any], ...], code: int, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(output(*packages)) == code
    out, err = capfd.readouterr()
    assert says in (err if code else out)
    assert not (out if code else err)


def test_it_says_that_pip_audit_failed(capfd: pytest.CaptureFixture[str]) -> None:
    fails = "raise SystemExit('api.osv.dev: no such name')"
    assert main([sys.executable, "-c", fails]) == 2
    assert capfd.readouterr().err == (
        "nothing was checked: pip-audit failed: api.osv.dev: no such name\n"
    )
