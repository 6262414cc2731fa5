"""What `top` knows: the last answers, the rates between two of them, and how it is sorted."""

from typing import Any

from attrs import define, field, frozen

from squire_gatherings._admin.api.end_shapes import Endings
from squire_gatherings._admin.api.shapes import Gathering, Gatherings, HallState
from squire_gatherings._cli.operators.asking import Answer

SORTS = {
    "deadline": "deadline",
    "clients": "clients",
    "seq": "seq",
    "opened": "opened",
    "messages": "processed",
    "id": "id",
}
"""By what gatherings can be sorted, and what the API calls that."""

KEYS = {"d": "deadline", "c": "clients", "s": "seq", "o": "opened", "m": "messages", "i": "id"}

_LARGEST_FIRST = {"clients", "seq", "messages"}


@frozen
class Order:
    """How gatherings are sorted: the soonest end first, but the largest number."""

    sort: str
    is_reversed: bool = False

    @property
    def direction(self) -> str:
        """The same for the API."""
        descending = (self.sort in _LARGEST_FIRST) is not self.is_reversed
        return "descending" if descending else "ascending"


@frozen(eq=False)
class Sample:
    """What the server said at one moment."""

    hall_answer: Answer
    listed_answer: Answer
    ended_answer: Answer
    at: float
    """When, by our own clock."""

    @property
    def hall(self) -> HallState:
        """The hall."""
        hall: HallState = self.hall_answer.value
        return hall

    @property
    def listed(self) -> Gatherings:
        """Its gatherings."""
        listed: Gatherings = self.listed_answer.value
        return listed

    @property
    def ended(self) -> Endings:
        """The last ends."""
        ended: Endings = self.ended_answer.value
        return ended

    @property
    def json(self) -> dict[str, Any]:
        """All of it, as the API said it."""
        return {
            "hall": self.hall_answer.json,
            "gatherings": self.listed_answer.json,
            "endings": self.ended_answer.json,
        }


@define(eq=False)
class Top:
    """What is shown."""

    order: Order
    sample: Sample | None = None
    trouble: str | None = None
    """Why the server couldn't be asked the last time."""
    total_rate: float | None = None
    _rates: dict[str, float] = field(factory=dict)

    def take(self, sample: Sample) -> None:
        """Take an answer, and compare it with the one before."""
        before, self.sample, self.trouble = self.sample, sample, None
        if before is None or sample.hall.started_at != before.hall.started_at:
            self._rates, self.total_rate = {}, None
            return
        # By the server's clock, as answers are late by varying times.
        seconds = sample.hall.now - before.hall.now
        self.total_rate = _rate(sample.hall.messages - before.hall.messages, seconds)
        seconds = sample.listed.now - before.listed.now
        known = {one.incarnation: one.processed for one in before.listed.gatherings}
        rates: dict[str, float] = {}
        for one in sample.listed.gatherings:
            if one.incarnation in known:
                rate = _rate(one.processed - known[one.incarnation], seconds)
                if rate is not None:
                    rates[one.incarnation] = rate
        self._rates = rates

    def fail(self, why: str) -> None:
        """Note that the server couldn't be asked; what it said before stays."""
        self.trouble = why

    def press(self, key: str) -> bool:
        """Take a key; return whether the order is another one now."""
        if key == "r":
            self.order = Order(self.order.sort, not self.order.is_reversed)
        elif key in KEYS:
            self.order = Order(KEYS[key])
        else:
            return False
        return True

    def rate(self, one: Gathering) -> float | None:
        """Return how many messages a second it processed between the last two answers."""
        return self._rates.get(one.incarnation)


def _rate(messages: int, seconds: float) -> float | None:
    return messages / seconds if seconds > 0 and messages >= 0 else None
