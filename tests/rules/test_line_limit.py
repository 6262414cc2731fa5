"""The line limit: so many lines a second of each kind, and the next line says how many weren't."""

from hypothesis import given, settings
from hypothesis import strategies as st

from squire_gatherings._rules.line_limit import LineLimit
from tests.support import examples


def test_so_many_a_second_and_the_next_says_how_many_were_left_out() -> None:
    limit = LineLimit()
    assert [limit.count("a", 5.0, 3) for _ in range(5)] == [1, 1, 1, 0, 0]
    assert limit.count("b", 5.0, 3) == 1
    assert limit.count("a", 5.9, 3) == 0
    assert [limit.count("a", 6.0, 3) for _ in range(4)] == [4, 1, 1, 0]
    assert limit.count("a", 1000.0, 3) == 2


@settings(max_examples=examples(100))
@given(st.lists(st.floats(0, 2), max_size=60), st.integers(1, 5))
def test_each_is_counted_once_and_no_second_has_too_many(pauses: list[float], most: int) -> None:
    limit, now, lines = LineLimit(), 0.0, list[tuple[float, int]]()
    for pause in pauses:
        now += pause
        times = limit.count("a", now, most)
        if times:
            lines.append((now, times))
    told = sum(times for _, times in lines)
    assert told + limit.count("a", now + 9, most) == len(pauses) + 1
    for at, _ in lines:
        # Two periods may touch.
        assert sum(at <= other < at + 1 for other, _ in lines) <= 2 * most
