"""The door: which connections give way."""

from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run

from squire_gatherings._rules.door import Door, Turned, Visitor
from tests.support import examples


def nobody() -> None:
    raise AssertionError("it was to stay")


def crowd_of(door: Door, address: str | None, count: int, gone: list[int]) -> list[Visitor]:
    visitors = [Visitor(address, partial(gone.append, number)) for number in range(count)]
    for visitor in visitors:
        assert door.come(visitor, None, None) is None
    return visitors


def test_the_oldest_silent_one_gives_way() -> None:
    door, gone = Door(), list[int]()
    crowd_of(door, "a", 3, gone)
    assert door.come(Visitor("b", nobody), 3, None) is None
    assert (gone, len(door), door.gave_way) == ([0], 3, 1)


def test_of_one_address_its_own_oldest_gives_way() -> None:
    door, gone = Door(), list[int]()
    other = Visitor("b", nobody)
    assert door.come(other, None, None) is None
    crowd_of(door, "a", 2, gone)
    assert door.come(Visitor("a", nobody), None, 2) is None
    assert gone == [0]
    assert other in door


def test_of_several_crowds_the_largest_gives_way_though_others_are_older() -> None:
    door, gone = Door(), list[int]()
    innocent = Visitor("innocent", nobody)
    door.come(innocent, None, None)
    crowd_of(door, "a", 5, gone)
    for number in range(3):
        assert door.come(Visitor(number, nobody), 6, None) is None
    assert innocent in door
    assert gone == [0, 1, 2]


def test_a_client_that_was_heard_never_gives_way() -> None:
    door, gone = Door(), list[int]()
    heard, silent = crowd_of(door, "a", 2, gone)
    door.heard(heard)
    assert door.come(Visitor("b", nobody), 2, None) is None
    assert gone == [1]
    assert heard in door
    assert silent not in door
    # All have been heard: the newcomer is turned away.
    full = Door()
    for visitor in crowd_of(full, "a", 2, gone):
        full.heard(visitor)
    assert full.come(Visitor("b", nobody), 2, None) is Turned.IN_ALL
    assert full.come(Visitor("a", nobody), None, 2) is Turned.AT_ADDRESS
    assert not full.give_way()
    assert full.room(2, 8) == 0
    assert full.room(3, 8) == 1
    assert full.room(3, 8, 1) == 0
    assert full.room(None, 8) == 8


def test_a_client_with_unread_words_is_not_silent() -> None:
    door, gone = Door(), list[int]()
    door.come(Visitor("a", nobody, lambda: True), None, None)
    crowd_of(door, "a", 1, gone)
    assert door.come(Visitor("a", nobody), None, 2) is None
    assert gone == [0]
    # If a whole crowd has unread words, one gives way to another address, but not to its own.
    busy = Door()
    lost = list[int]()
    for number in range(20):
        busy.come(Visitor("a", partial(lost.append, number), lambda: True), None, None)
    assert busy.come(Visitor("a", nobody), None, 20) is Turned.AT_ADDRESS
    # No connection is thrown out for one that can still wait outside.
    assert busy.room(20, 8) == 0
    assert busy.room(25, 8) == 5
    assert busy.come(Visitor("b", nobody), 20, None) is None
    assert len(lost) == 1


def test_nobody_gives_way_while_most_wait_for_the_server() -> None:
    door, gone = Door(), list[int]()
    visitors = crowd_of(door, "a", 8, gone)
    for visitor in visitors[:4]:
        door.heard(visitor)
    # Who has just come, or has just been answered, has had no time to say anything.
    assert door.room(8, 8) == 0
    assert gone == []
    door.leave(visitors[0])
    assert door.room(8, 8) == 1
    assert door.room(7, 8) == 1
    assert gone == [4]


def test_an_answered_client_is_silent_again_and_comes_last() -> None:
    door, gone = Door(), list[int]()
    first, _ = crowd_of(door, "a", 2, gone)
    door.heard(first)
    door.answered(first)
    assert door.give_way()
    assert gone == [1]
    assert door.give_way()
    assert gone == [1, 0]
    assert not door.give_way()
    door.answered(first)
    assert len(door) == door.silent == 0


class Doors(RuleBasedStateMachine):
    """Connections that come, speak and go in any order, compared with plain sets."""

    def __init__(self) -> None:
        super().__init__()
        self.door = Door()
        self.there: dict[Visitor, bool] = {}
        self.gone: list[Visitor] = []

    @rule(
        address=st.sampled_from([None, "a", "b", "c"]),
        most=st.sampled_from([None, 1, 3, 8]),
        per=st.sampled_from([None, 1, 2]),
        unread=st.booleans(),
    )
    def come(self, address: str | None, most: int | None, per: int | None, unread: bool) -> None:
        before = len(self.gone)
        visitor = Visitor(address, lambda: self.gave_way(visitor), lambda: unread)
        there = len(self.there)
        turned = self.door.come(visitor, most, per)
        if turned is None:
            self.there[visitor] = True
            assert most is None or len(self.there) <= max(most, there)
        elif turned is Turned.IN_ALL:
            assert most is not None
            assert there >= most
        else:
            assert per is not None
            assert sum(one.crowd == visitor.crowd for one in self.there) >= per
        assert len(self.gone) - before <= 2

    def gave_way(self, visitor: Visitor) -> None:
        assert self.there.pop(visitor), "it was heard"
        self.gone.append(visitor)

    def one(self, data: st.DataObject) -> Visitor:
        return data.draw(st.sampled_from(list(self.there)))

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def heard(self, data: st.DataObject) -> None:
        visitor = self.one(data)
        self.door.heard(visitor)
        self.there[visitor] = False

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def answered(self, data: st.DataObject) -> None:
        visitor = self.one(data)
        self.door.answered(visitor)
        self.there[visitor] = True

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        visitor = self.one(data)
        self.door.leave(visitor)
        self.door.leave(visitor)
        del self.there[visitor]

    @rule()
    def make_way(self) -> None:
        crowds: dict[object, int] = {}
        for visitor, silent in self.there.items():
            crowds[visitor.crowd] = crowds.get(visitor.crowd, 0) + silent
        before = len(self.gone)
        assert self.door.give_way() is bool(any(crowds.values()))
        if len(self.gone) > before:
            assert crowds[self.gone[-1].crowd] == max(crowds.values())

    @invariant()
    def counts(self) -> None:
        assert len(self.door) == len(self.there)
        assert self.door.silent == sum(self.there.values())
        assert self.door.gave_way == len(self.gone)
        assert all(visitor in self.door for visitor in self.there)
        assert not any(visitor in self.door for visitor in self.gone)


def test_any_order() -> None:
    run(Doors, settings=settings(max_examples=examples(60), deadline=None))


@given(st.lists(st.sampled_from("abc"), max_size=60), st.integers(1, 8))
@settings(max_examples=examples(60), deadline=None)
def test_however_many_come_the_least_crowded_keep_their_places(names: list[str], most: int) -> None:
    door = Door()
    there: list[Visitor] = []
    for name in names:
        visitor = Visitor(name, nobody)
        visitor.give_way = partial(there.remove, visitor)
        assert door.come(visitor, most, None) is None
        there.append(visitor)
        assert len(there) <= most
        assert there[-1] is visitor
