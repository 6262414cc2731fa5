"""The garbage collector: what would take long to look at is exempt from full collections."""

import gc
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from squire_gatherings import _collector
from squire_gatherings._collector import ENDS, LONG, Exempting, note_end


@pytest.fixture
def exempting() -> Iterator[None]:
    callback = Exempting()
    gc.unfreeze()
    gc.callbacks.append(callback)
    try:
        yield
    finally:
        gc.callbacks.remove(callback)
        # As before: conftest.py has it so.
        gc.freeze()


@pytest.mark.usefixtures("exempting")
@pytest.mark.parametrize("generation", [0, 1, 2])
@pytest.mark.parametrize(("long", "is_exempt"), [(0.0, True), (1000.0, False)])
def test_what_takes_long_to_look_at_is_exempt(
    long: float, is_exempt: bool, generation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_collector, "LONG", long)
    kept = [[number] for number in range(1000)]
    gc.collect(generation)
    assert (gc.get_freeze_count() > len(kept)) is is_exempt
    # What came since is still looked at.
    cycle: list[object] = []
    cycle.append(cycle)
    del cycle
    assert gc.collect(generation) >= 1


@pytest.mark.parametrize(
    ("collections", "exempts"),
    [
        ([(1, 0.6), (1, 0.6)], [False, True]),
        # Those that come next begin anew.
        ([(1, 1.1), (1, 0.6), (1, 0.6)], [True, False, True]),
        # A full one has looked at all that there is.
        ([(1, 0.6), (2, 0.3), (1, 0.6), (1, 0.3)], [False, False, False, True]),
        # The youngest alone tell nothing.
        ([(0, 0.9), (0, 0.9)], [False, False]),
    ],
)
def test_young_collections_tell_how_long_a_full_one_would_take(
    collections: list[tuple[int, float]], exempts: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seconds are multiples of `LONG` here."""
    now, frozen = 0.0, 0
    exempting = Exempting()

    def freeze() -> None:
        nonlocal frozen
        frozen += 1

    monkeypatch.setattr(_collector, "time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(_collector, "gc", SimpleNamespace(freeze=freeze))
    found = []
    for generation, took in collections:
        before = frozen
        exempting("start", {"generation": generation})
        now += took * LONG
        exempting("stop", {"generation": generation})
        found.append(frozen > before)
    assert found == exempts


@pytest.mark.parametrize("is_enabled", [True, False])
def test_many_ends_have_the_young_collected(
    is_enabled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected: list[int] = []
    fake = SimpleNamespace(isenabled=lambda: is_enabled, collect=collected.append)
    monkeypatch.setattr(_collector, "gc", fake)
    for _ in range(3 * ENDS):
        note_end()
    assert collected == ([1, 1, 1] if is_enabled else [])


def test_young_collections_that_take_long_exempt_what_they_have_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise the next one looks at all of it again."""
    now, frozen = 0.0, list[float]()
    exempting = Exempting()
    monkeypatch.setattr(_collector, "time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(_collector, "gc", SimpleNamespace(freeze=lambda: frozen.append(now)))
    for took in (0.5, 0.9, 1.5):
        exempting("start", {"generation": 0})
        now += took * LONG
        exempting("stop", {"generation": 0})
    assert frozen == [now]
