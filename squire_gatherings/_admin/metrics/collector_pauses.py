"""The pauses of Python's garbage collector, during which nothing else runs."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from attrs import define, field

from squire_gatherings._rules.histogram import Histogram


@define(eq=False)
class CollectorPauses:
    """Measures them, by the generation that is collected."""

    pauses: tuple[Histogram, ...] = field(factory=lambda: tuple(Histogram() for _ in range(3)))
    _began: float = 0.0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure within the block."""
        callback = self._note
        gc.callbacks.append(callback)
        try:
            yield
        finally:
            gc.callbacks.remove(callback)

    def _note(self, phase: str, about: dict[str, Any]) -> None:
        if phase == "start":
            self._began = perf_counter()
        elif self._began:
            self.pauses[about["generation"]].add(perf_counter() - self._began)
            self._began = 0.0
