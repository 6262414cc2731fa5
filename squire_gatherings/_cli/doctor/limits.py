"""Checks of limits: open files against connections, memory against what the process may use."""

from collections.abc import Mapping
from typing import Any

from squire_gatherings._cli.doctor.findings import Finding, fail, ok, warn
from squire_gatherings._cli.doors import SPARE_FILES
from squire_gatherings._cli.setup import Setup
from squire_gatherings._cli.units import format_size

TIGHT = 0.8
"""A budget above this share of what is allowed leaves too little for what isn't counted."""

LEAST_FILES = 1024


def check_open_files(options: Mapping[str, Any], open_files: int | None) -> Finding:
    """Check whether as many files may be open as the options ask for connections."""
    if open_files is None:
        return ok("open files", "any number")
    connections, handshakes = options["max_connections"], options["max_handshakes"]
    wanted = (connections or 0) + (handshakes or 0) + SPARE_FILES
    do = "raise LimitNOFILE of systemd (ulimit -Hn), or lower --max-connections"
    if open_files < LEAST_FILES:
        return fail("open files", f"only {open_files} may be open", do)
    if connections is None or open_files < wanted:
        asked = "any number of" if connections is None else str(connections)
        says = f"{open_files} may be open, too few for {asked} connections (--max-connections)"
        return warn("open files", says, do)
    return ok("open files", f"{open_files} may be open, {wanted} are needed at most")


def check_memory(setup: Setup, allowed: int) -> Finding:
    """Check the budget of memory against what the process may use."""
    budget = setup.hall.max_memory
    of = f"of {format_size(allowed)} that the machine or its control group allows"
    if budget is None:
        do = "set --max-memory, or the kernel ends the process where it runs out"
        return warn("memory", f"no limit, {of}", do)
    says = f"connections and gatherings may hold {format_size(budget)} {of}"
    if budget > allowed:
        return fail("memory", says, "lower --max-memory")
    if budget > TIGHT * allowed:
        return warn("memory", says, "lower --max-memory: Python itself needs some, too")
    return ok("memory", says)
