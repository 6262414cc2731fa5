"""Findings: what one check came to, and what to do about it."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from attrs import frozen

from squire_gatherings._cli.operators.names import shown


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """It works, but not as it should, or not for long."""
    FAIL = "fail"
    """It doesn't work."""


@frozen
class Finding:
    """What one check came to."""

    check: str
    """What was looked at, in a word."""
    level: Level
    says: str
    """What is so."""
    do: str = ""
    """What to do about it."""

    @property
    def line(self) -> str:
        """It as a line for a terminal."""
        text = f"{self.says}: {self.do}" if self.do else self.says
        return f"{self.level.upper():<4}  {self.check:<11}  {shown(text)}"

    @property
    def json(self) -> dict[str, Any]:
        """It as an object of JSON."""
        return {"check": self.check, "level": self.level, "says": self.says, "do": self.do}


def ok(check: str, says: str) -> Finding:
    """Return that all is well."""
    return Finding(check, Level.OK, says)


def warn(check: str, says: str, do: str) -> Finding:
    """Return that something should be done."""
    return Finding(check, Level.WARN, says, do)


def fail(check: str, says: str, do: str) -> Finding:
    """Return that something must be done."""
    return Finding(check, Level.FAIL, says, do)


def worst(findings: Iterable[Finding]) -> Level:
    """Return how bad it is in all."""
    order = list(Level)
    return max((one.level for one in findings), key=order.index, default=Level.OK)
