"""Instants: how a command takes one, and how `--for` becomes one by the server's clock."""

from squire_gatherings._admin.api.shapes import LAST_TIME, HallState
from squire_gatherings._cli.operators.asking import AdminPort
from squire_gatherings._cli.options import Parsed
from squire_gatherings._cli.points import parse_point


def parse_instant(text: str) -> float:
    """Return an instant in seconds since 1970. Raises `ValueError` if the text names none."""
    try:
        time = parse_point(text).time
    except ValueError:
        time = None
    if time is None or time > LAST_TIME * 1000:
        raise ValueError(f"{text[:40]!r} is no time such as 2026-11-28T01:02:03Z")
    return time / 1000


INSTANT = Parsed("time", parse_instant)


async def by_their_clock(port: AdminPort, span: float) -> float:
    """Return the instant that is so many seconds from now by the server's clock.

    Raises what `AdminPort.get` does. Cancellation: nothing happened.
    """
    state: HallState = (await port.get("/api/v1/hall", HallState)).value
    return min(round(state.now + span, 3), float(LAST_TIME))
