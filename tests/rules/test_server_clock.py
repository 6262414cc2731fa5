"""The server's clock as a client knows it: never beside what the server's times allow."""

from attrs import define
from hypothesis import given, settings
from hypothesis import strategies as st

from squire_gatherings._rules.clock_offset import DRIFT
from squire_gatherings._rules.server_clock import ServerClock
from tests.support import examples

HOUR = 3600.0


@define
class World:
    """Clocks of a client and a server, and a line between them."""

    steady: float = 1000.0
    wall: float = 0.0
    """How far the client's time of day is ahead of its steady clock."""
    server: float = 0.0
    """How far the server's is."""

    def clock(self) -> ServerClock:
        return ServerClock(lambda: self.steady + self.wall, lambda: self.steady)

    @property
    def server_time(self) -> int:
        return int((self.steady + self.server) * 1000)


def test_without_a_word_of_the_server_it_is_ones_own() -> None:
    world = World(wall=500.25)
    clock = world.clock()
    assert clock.now() == 1500250
    world.wall += 1
    assert clock.now() == 1501250


def test_a_clock_that_is_an_hour_off_is_set_right_by_an_answer() -> None:
    for off in (-HOUR, HOUR):
        world = World(wall=5000.0 + off, server=5000.0)
        clock, submitted_at = world.clock(), world.steady
        world.steady += 0.04
        time = world.server_time
        world.steady += 0.02
        clock.answered(time, submitted_at)
        assert abs(clock.now() - world.server_time) <= 61
        # Also if somebody sets our own meanwhile.
        world.wall -= 7 * off
        world.steady += 100.0
        assert abs(clock.now() - world.server_time) <= 61


def test_what_comes_shows_how_late_it_is_at_least() -> None:
    world = World(wall=0.0, server=HOUR)
    clock = world.clock()
    clock.heard(world.server_time)
    assert clock.now() == world.server_time
    # What is old says nothing.
    clock.heard(5)
    assert clock.now() == world.server_time


def test_a_server_whose_clock_is_set_is_believed_again() -> None:
    world = World(server=0.0)
    for step in (HOUR, -3 * HOUR, HOUR):
        clock = world.clock()
        for _ in range(2):
            clock.answered(world.server_time, world.steady)
            assert abs(clock.now() - world.server_time) <= 1
            world.server += step


@settings(max_examples=examples(100))
@given(
    st.floats(-1e6, 1e6),
    st.floats(-1e6, 1e6),
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10), st.booleans()), max_size=20),
)
def test_it_is_within_what_was_said(
    wall: float, server: float, said: list[tuple[float, float, bool]]
) -> None:
    """However long messages take: it is off by no more than the quickest answer took in all."""
    world = World(wall=wall + 2e6, server=server + 2e6)
    clock, most = world.clock(), float("inf")
    for there, back, is_ours in said:
        submitted_at = world.steady
        world.steady += there
        time = world.server_time
        world.steady += back
        # Clocks drift: what was known may have become a little wrong.
        most += (there + back) * DRIFT
        if is_ours:
            clock.answered(time, submitted_at)
            most = min(most, there + back)
        else:
            clock.heard(time)
            assert clock.now() >= time
        assert abs(clock.now() - world.server_time) <= max(abs(wall - server), 0.0) * 1000 + 2
        assert abs(clock.now() - world.server_time) <= most * 1000 + 2
