"""Names of users and roles, as a command takes and shows them."""

from squire_gatherings._admin.api.shapes import MAX_USER
from squire_gatherings._cli.options import Parsed
from squire_gatherings._cli.printing import printable

MAX_ROLE = 64


def _named(text: str, most: int) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("it isn't UTF-8") from None
    if not 0 < len(text) <= most:
        raise ValueError(f"it has 1 to {most} characters")
    return text


USER = Parsed("user", lambda text: _named(text, MAX_USER))
ROLE = Parsed("role", lambda text: _named(text, MAX_ROLE))


def shown(name: str) -> str:
    """Return a name as it may stand in a line for a terminal."""
    return printable(name)[1:-1]
