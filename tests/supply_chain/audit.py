"""`make audit`: asks PyPI's database of advisories about all that is installed here.

`pip-audit` does it. If it can't ask about a package, it says that no vulnerabilities were found,
and exits with 0. This module says which packages were asked about, and exits with 2 unless all
were.
"""

import json
import subprocess
import sys
from collections.abc import Sequence

OURS = "squire-gatherings"
PATIENCE = 15
"""Seconds to wait for an answer."""

COMMAND = (
    *(sys.executable, "-m", "pip_audit", "--skip-editable", "--progress-spinner", "off"),
    *("--format", "json", "--timeout", str(PATIENCE)),
)


def told(output: str) -> tuple[list[str], int]:
    """Return the text about what `pip-audit` found, and the exit code."""
    found: list[str] = []
    unknown: list[str] = []
    checked = 0
    for package in json.loads(output)["dependencies"]:
        name = package["name"]
        if "skip_reason" in package:
            if name != OURS:
                unknown.append(name)
            continue
        checked += 1
        for one in package["vulns"]:
            fixed = ", ".join(one["fix_versions"]) or "no version yet"
            found.append(f"{name} {package['version']}: {one['id']}, mended in {fixed}")
    lines = [*found, f"{checked} packages were checked, {len(found)} vulnerabilities are known"]
    if not checked:
        lines = ["nothing was checked: no database of advisories can be reached from here"]
    elif unknown:
        lines.append(f"{len(unknown)} weren't checked: {', '.join(unknown)}")
    return lines, 1 if found else 2 if unknown or not checked else 0


def main(command: Sequence[str] = COMMAND) -> int:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        lines, code = told(done.stdout)
    except (ValueError, KeyError):
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        lines, code = [f"nothing was checked: pip-audit failed: {said:.300}"], 2
    print("\n".join(lines), file=sys.stderr if code else sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main())
