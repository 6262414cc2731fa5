"""The garbage collector: what a long full collection has looked at is exempt from the next ones."""

import gc
from collections.abc import Iterator

import pytest

from squire_gatherings import _collector
from squire_gatherings._collector import Exempting


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
@pytest.mark.parametrize(("long", "is_exempt"), [(0.0, True), (1000.0, False)])
def test_what_a_long_full_collection_has_seen_is_exempt(
    long: float, is_exempt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_collector, "LONG", long)
    kept = [[number] for number in range(1000)]
    gc.collect(1)
    assert gc.get_freeze_count() == 0
    gc.collect(2)
    assert (gc.get_freeze_count() > len(kept)) is is_exempt
    # What came since is still looked at.
    cycle: list[object] = []
    cycle.append(cycle)
    del cycle
    assert gc.collect(2) >= 1
