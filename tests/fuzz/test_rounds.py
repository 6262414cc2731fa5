"""A search in rounds: each target has its share, and one that is over leaves it to the others."""

from attrs import define

from tests.fuzz.__main__ import Progress, search_all


@define
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@define(eq=False)
class Searched:
    """A search that has had enough after so many seconds, on a clock of the test's."""

    clock: Clock
    enough: float
    had: float = 0.0
    turns: int = 0

    @property
    def is_over(self) -> bool:
        return self.had >= self.enough

    def run(self, seconds: int, tell: Progress) -> None:
        took = min(seconds, self.enough - self.had)
        self.had += took
        self.turns += 1
        self.clock.now += took


def test_what_is_over_leaves_its_time_to_what_is_slow() -> None:
    clock = Clock()
    fast, slow = Searched(clock, 10), Searched(clock, 1e9)
    search_all([fast, slow], 100, 2, 1, clock)
    assert (fast.had, fast.turns) == (10, 1)
    assert (slow.had, slow.turns) == (25 + 65, 2)


def test_all_have_the_same_where_none_is_over() -> None:
    clock = Clock()
    searches = [Searched(clock, 1e9) for _ in range(4)]
    search_all(searches, 800, 8, 1, clock)
    assert [(one.had, one.turns) for one in searches] == [(200, 8)] * 4


def test_it_ends_when_all_are_over() -> None:
    clock = Clock()
    searches = [Searched(clock, 3) for _ in range(2)]
    search_all(searches, 1000, 8, 1, clock)
    assert clock() == 6
