"""The submissions of one client: its ops whose answers are awaited."""

from collections.abc import Iterator

from attrs import define


@define(eq=False)
class Submission:
    """An op whose answer is awaited. Times are of `time.monotonic`."""

    op: bytes
    """The op, encoded."""

    due: float
    sent: float = 0.0
    """When it was sent on the present connection; 0: it wasn't yet."""

    acked: int = 0
    """What we had acknowledged on the connection when we sent it."""


class Submissions:
    """Ops by their number, in the order in which they became due."""

    __slots__ = ("_by_number",)

    def __init__(self) -> None:
        self._by_number: dict[int, Submission] = {}

    def __len__(self) -> int:
        return len(self._by_number)

    def __iter__(self) -> Iterator[int]:
        return iter(self._by_number)

    def add(self, number: int, op: bytes, due: float) -> Submission:
        """An op is due, and to be sent."""
        submission = self._by_number[number] = Submission(op, due)
        return submission

    def unsent(self) -> list[tuple[int, Submission]]:
        """Return number and submission of what hasn't been sent on this connection."""
        return [(number, one) for number, one in self._by_number.items() if not one.sent]

    def answered(self, id_: str) -> tuple[int, Submission] | None:
        """Take out what an answer is for; None where it's for none."""
        number = int(id_) if id_.isdecimal() else -1
        submission = self._by_number.pop(number, None)
        return None if submission is None else (number, submission)

    def take_overdue(self, now: float, patience: float, away_at_most: float) -> list[int]:
        """Take out what wasn't answered for `patience` seconds; return the numbers.

        An op that couldn't be sent, since its author was away, gets `away_at_most` more.
        """
        overdue = [
            number
            for number, one in self._by_number.items()
            if now - (one.sent or one.due + away_at_most) > patience
        ]
        for number in overdue:
            del self._by_number[number]
        return overdue

    def connection_lost(self) -> None:
        """Everything must be sent again."""
        for submission in self._by_number.values():
            submission.sent = 0.0

    def clear(self) -> None:
        """Await no answer any more."""
        self._by_number.clear()
