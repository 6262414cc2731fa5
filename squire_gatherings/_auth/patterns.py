"""Patterns: which gatherings a token is good for.

A pattern is the id of a gathering, or the beginning of ids and a `*` at its end: `friday-night`,
`club-7-*`, `*`. Nothing else has a meaning, so that nobody writes one that says more than he thinks
or takes long to match.
"""

import re
from collections.abc import Sequence

from squire_gatherings._values.ids import MAX_ID_LENGTH

MAX_PATTERNS = 64

_PATTERN = re.compile(rf"[A-Za-z0-9._~-]{{0,{MAX_ID_LENGTH}}}\*?")


def check_pattern(pattern: object) -> str:
    """Return a pattern; raise `ValueError` for what is none."""
    if not isinstance(pattern, str) or not pattern or not _PATTERN.fullmatch(pattern):
        raise ValueError(
            "a pattern is a gathering's id, or its beginning and a * at the end,"
            f" not {str(pattern)[:80]!r}"
        )
    return pattern


def covers(patterns: Sequence[str], gathering_id: str) -> bool:
    """Whether one of the patterns matches the gathering's id."""
    return any(
        gathering_id.startswith(pattern[:-1]) if pattern[-1] == "*" else gathering_id == pattern
        for pattern in patterns
    )
