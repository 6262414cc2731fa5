"""Sync ids: which are certain without the store, and which must be asked for."""

from hypothesis import given
from hypothesis import strategies as st

from squire_gatherings._rules.sync_ids import (
    TRIMMED_AT_ONCE,
    Filter,
    LookupNeeded,
    SyncIds,
    SyncKey,
)
from squire_gatherings._values.log import SyncRecord


def is_new(ids: SyncIds, key: SyncKey) -> bool | None:
    """Whether a sync is new; None if only the store can tell."""
    try:
        return ids.find(key) is None
    except LookupNeeded:
        return None


def a_record(scope: str, name: str) -> SyncRecord:
    return SyncRecord(scope, name, 1, 1, b"")


@given(st.sets(st.tuples(st.sampled_from("ab"), st.text(max_size=4)), max_size=200))
def test_a_filter_forgets_no_id(keys: set[SyncKey]) -> None:
    one = Filter()
    for key in keys:
        one.add(key)
    assert all(key in one for key in keys)


def test_a_filter_takes_few_new_ids_for_known_ones() -> None:
    one = Filter()
    for number in range(100_000):
        one.add(("scope", f"member-{number}"))
        if number in (1000, 10_000, 99_999):
            wrong = sum(("scope", f"stranger-{number}-{n}") in one for n in range(10_000))
            # Each part is wrong in less than 0.1 %, and there are at most four parts here.
            assert wrong < 60
    assert all(("scope", f"member-{number}") in one for number in range(100_000))


def test_so_many_are_remembered_and_the_rest_is_left_to_the_store() -> None:
    ids, limit = SyncIds(100), 100
    for number in range(limit + TRIMMED_AT_ONCE):
        ids.add(("a", f"{number}"), a_record("a", f"{number}"))
        ids.trim()
    assert all(is_new(ids, ("a", f"{number}")) is False for number in range(limit))
    ids.add(("a", "one more"), a_record("a", "one more"))
    ids.trim()
    remembered = [one.id for one in ids.since(0, 1)]
    assert remembered == [f"{number}" for number in range(33, 132)] + ["one more"]
    assert is_new(ids, ("a", "0")) is None


steps = st.lists(
    st.tuples(
        st.sampled_from(["apply", "ask", "tell"]), st.sampled_from("ab"), st.integers(0, 200)
    ),
    max_size=300,
)


@given(st.lists(st.integers(0, 200), unique=True, max_size=80), st.integers(0, 10), steps)
def test_nothing_that_was_applied_is_taken_for_new(
    before: list[int], limit: int, plan: list[tuple[str, str, int]]
) -> None:
    """`find` is never wrong about an id; at most it doesn't know."""
    stored: dict[SyncKey, SyncRecord] = {}
    for number in before:
        key = ("ab"[number % 2], str(number))
        stored[key] = a_record(*key)
    restored = list(stored.values())[-limit:] if limit else []
    ids = SyncIds(limit)
    ids.restore(restored, has_older=len(stored) > len(restored))
    for what, scope, number in plan:
        key = (scope, str(number))
        match what:
            case "apply":
                if is_new(ids, key):
                    assert key not in stored
                    stored[key] = a_record(*key)
                    ids.add(key, stored[key])
                    ids.trim()
            case "ask":
                if is_new(ids, key) is not None:
                    assert ids.find(key) == stored.get(key)
            case _:
                if scope in ids.unasked([key]):
                    ids.told(scope, [one for of, one in stored if of == scope], is_all=number > 20)
                    assert scope not in ids.unasked([key])


def test_new_ids_need_no_store_however_many_there_were() -> None:
    ids = SyncIds(limit=8)
    unknown = 0
    for number in range(5000):
        key = ("scope", f"s{number}")
        unknown += is_new(ids, key) is None
        ids.add(key, a_record(*key))
        ids.trim()
    assert unknown < 50
    # The newest are there as records; older ones look like strangers.
    assert ids.find(("scope", "s4999")) is not None
    assert is_new(ids, ("scope", f"s{4999 - 8 - TRIMMED_AT_ONCE}")) is None
    assert is_new(ids, ("scope", "s0")) is None


def test_a_scope_that_has_too_many_is_asked_about_once_and_stays_uncertain() -> None:
    ids = SyncIds(limit=1)
    ids.restore([a_record("a", "new")], has_older=True)
    assert ids.unasked([("a", "x"), ("b", "y")]) == {"a", "b"}
    ids.told("a", ["old"], is_all=False)
    ids.told("b", ["old"], is_all=True)
    assert ids.unasked([("a", "x"), ("b", "y")]) == set()
    assert ids.find(("a", "new")) is not None
    assert is_new(ids, ("a", "x")) is None
    assert [is_new(ids, ("b", one)) for one in ("y", "old")] == [True, None]
