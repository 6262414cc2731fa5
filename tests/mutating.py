"""Mutating: the package imported with one place of one module changed. No file is changed.

The old text must be there exactly once: a mutant that has become the package itself is none.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from attrs import frozen

import squire_gatherings

PACKAGE = squire_gatherings.__name__
_FOLDER = Path(squire_gatherings.__file__).parent


@frozen
class Change:
    """One place of a module, and what it is to be instead."""

    module: str
    """Below the package."""
    old: str
    new: str

    @property
    def module_name(self) -> str:
        """The whole name of the module."""
        return f"{PACKAGE}.{self.module}"

    def code(self) -> CodeType:
        """Return the module's code, changed. Raises `AssertionError` if the place isn't there."""
        path = _FOLDER / f"{self.module.replace('.', '/')}.py"
        source = path.read_text()
        count = source.count(self.old)
        assert count == 1, f"{self.module_name} has {self.old!r} {count} times: adapt the mutant"
        return compile(source.replace(self.old, self.new), path, "exec")


class _Loader(SourceFileLoader):
    """Loads a module with one place changed."""

    def __init__(self, fullname: str, path: str, change: Change) -> None:
        super().__init__(fullname, path)
        self._change = change

    def get_code(self, fullname: str) -> CodeType:
        return self._change.code()


class _Finder(MetaPathFinder):
    def __init__(self, change: Change) -> None:
        self._change = change

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname != self._change.module_name:
            return None
        spec = PathFinder.find_spec(fullname, path)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = _Loader(fullname, spec.origin, self._change)
        return spec


def change_imports(change: Change | None) -> list[MetaPathFinder]:
    """Have the package imported anew from now on, changed; return what does it."""
    for name in [one for one in sys.modules if one.partition(".")[0] == PACKAGE]:
        del sys.modules[name]
    finders: list[MetaPathFinder] = [] if change is None else [_Finder(change)]
    sys.meta_path[:0] = finders
    return finders


@contextmanager
def imported_as(change: Change | None) -> Iterator[None]:
    """Have the package imported anew in the block, changed."""
    finders = change_imports(change)
    try:
        yield
        assert change is None or isinstance(sys.modules[change.module_name], ModuleType)
    finally:
        for finder in finders:
            sys.meta_path.remove(finder)
