"""Acks: how long clients are asked to wait until they acknowledge, so that all can be heard.

An acknowledgement stands for all before it. So the more clients there are, the longer each of them
may wait, and the number of acknowledgements a second stays what it is.
"""

USUAL_DELAY = 0.1
"""How many seconds a client waits that is told nothing."""

ACKS_A_SECOND = 4000
"""How many acknowledgements a second all clients are to send together, about: 4 % of a CPU."""

LONGEST_DELAY = 1.0
"""No client is asked to wait longer."""

PART_OF_LIMIT = 10
"""Nor for more than one part in so many of the time after which it is given up."""

LATER = 2.5
"""What isn't acknowledged is sent again after so many times the delay, at the earliest."""


def ack_delay(connections: int, retry_limit: float) -> float | None:
    """Return how many seconds one of so many clients is to wait; None for the usual time."""
    delay = min(connections / ACKS_A_SECOND, LONGEST_DELAY, retry_limit / PART_OF_LIMIT)
    return delay if delay > USUAL_DELAY else None
