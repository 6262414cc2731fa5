"""Lines for people and for scripts: what others wrote, made safe to print."""

import json
from typing import Any


def printable(value: Any) -> str:
    """Return a JSON value as one line in which nothing steers the terminal."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def print_json(**fields: Any) -> None:
    """Print one line of JSON, at once."""
    print(json.dumps(fields), flush=True)
