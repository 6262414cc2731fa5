"""The audit log: what operators did, one record each, under the name `squire_gatherings.audit`."""

import logging

_log = logging.getLogger("squire_gatherings.audit")


def audit(action: str, operator: str, target: str, outcome: str) -> None:
    """Log what an operator did.

    Args:
        action: What was asked for: `disperse`, `kick` …
        operator: Who asked, as they say themselves, and from where.
        target: The gathering, or the user, that it was done to.
        outcome: What came of it: `done`, or the code of the problem.
    """
    extra = {"action": action, "operator": operator, "target": target, "outcome": outcome}
    _log.info("an operator's action", extra=extra)
