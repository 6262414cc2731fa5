"""The garbage collector: what would take long to look at is exempt from full collections."""

import gc
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from squire_gatherings import _collector
from squire_gatherings._collector import LONG, Exempting


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
@pytest.mark.parametrize("generation", [1, 2])
@pytest.mark.parametrize(("long", "is_exempt"), [(0.0, True), (1000.0, False)])
def test_what_takes_long_to_look_at_is_exempt(
    long: float, is_exempt: bool, generation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_collector, "LONG", long)
    kept = [[number] for number in range(1000)]
    gc.collect(0)
    assert gc.get_freeze_count() == 0
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
        ([(0, 5.0), (0, 5.0)], [False, False]),
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
