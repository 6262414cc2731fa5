"""Finds our classes in what is exported: in signatures, attributes and docstrings."""

import functools
import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterator
from typing import Any

from attrs import frozen
from hypothesis.strategies import SearchStrategy
from opentelemetry.trace import Tracer

DUNDERS = {
    "__aenter__",
    "__aexit__",
    "__aiter__",
    "__anext__",
    "__call__",
    "__enter__",
    "__exit__",
    "__getitem__",
    "__init__",
    "__iter__",
    "__len__",
}
"""Methods that programs call without naming them."""

OF_EXTRAS = {"Tracer": Tracer, "SearchStrategy": SearchStrategy}
"""Types of packages that are imported only where somebody uses them."""


@frozen
class Surface:
    """The places that an exported object leads to, each with the type that stands there."""

    package: str
    """The package whose classes are looked for."""

    def is_ours(self, one: Any) -> bool:
        """Return whether a class or function is defined in the package."""
        module = str(getattr(one, "__module__", ""))
        return module == self.package or module.startswith(f"{self.package}.")

    def places(self, name: str, one: Any) -> Iterator[tuple[str, Any]]:
        """Yield each place in an exported object, with the type in it."""
        if inspect.isclass(one):
            yield from self._attributes(name, one)
        for place, function in self.functions(name, one):
            for parameter, hint in self._hints(function).items():
                yield f"{place}: {parameter}", hint
        if not (inspect.isclass(one) or inspect.isroutine(one)):
            # The object is an alias of a type, or a class's value.
            yield name, one if typing.get_args(one) else type(one)

    def functions(self, name: str, one: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
        """Yield the public calls of an exported object: itself, or its methods and properties.

        Methods that it inherits from a class of ours are among them.
        """
        if inspect.isroutine(one):
            yield name, inspect.unwrap(one)
        if not inspect.isclass(one):
            return
        for key in dir(one):
            if key.startswith("_") and key not in DUNDERS:
                continue
            for function in _functions_in(inspect.getattr_static(one, key)):
                function = inspect.unwrap(function)
                # Methods that attrs or msgspec made don't count: the attributes tell the same.
                if self.is_ours(function) and not function.__code__.co_filename.startswith("<"):
                    yield f"{name}.{key}", function

    def _attributes(self, name: str, one: type) -> Iterator[tuple[str, Any]]:
        if issubclass(one, BaseException) or self.is_ours(one):
            for key, hint in typing.get_type_hints(one, include_extras=True).items():
                if not key.startswith("_"):
                    yield f"{name}.{key}", hint

    def _hints(self, function: Callable[..., Any]) -> dict[str, Any]:
        names = {**OF_EXTRAS, **vars(sys.modules[function.__module__])}
        hints = typing.get_type_hints(function, names, include_extras=True)
        annotated = set(inspect.signature(function).parameters)
        untyped = annotated - set(hints) - {"self", "cls"}
        assert not untyped, f"{function.__qualname__}: {untyped} have no types"
        return hints

    def mentioned(self, hint: Any) -> Iterator[Any]:
        """Yield the package's classes inside a type."""
        if isinstance(hint, list | tuple):
            for part in hint:
                yield from self.mentioned(part)
            return
        if isinstance(hint, typing.TypeVar):
            yield from self.mentioned((hint.__bound__, hint.__constraints__))
            return
        if isinstance(hint, typing.NewType):
            yield from self.mentioned(hint.__supertype__)
            return
        # A value that annotates a type, or one of a `Literal`, has no arguments.
        yield from self.mentioned(typing.get_args(hint))
        for one in (hint, typing.get_origin(hint)):
            if inspect.isclass(one) and self.is_ours(one):
                yield one

    @functools.cache  # noqa: B019 (a few surfaces live as long as the tests)
    def errors(self) -> dict[str, type[BaseException]]:
        """Return the package's classes of errors that have been imported, by their names."""
        return {
            name: value
            for module in list(sys.modules.values())
            for name, value in vars(module).items()
            if self.is_ours(value) and inspect.isclass(value) and issubclass(value, BaseException)
        }

    def raised(self, docstring: str | None) -> set[str]:
        """Return the names of the package's errors in a docstring, marked as code or not."""
        return set(re.findall(r"\w+", docstring or "")) & set(self.errors())


def _functions_in(member: Any) -> Iterator[Callable[..., Any]]:
    """Yield the functions of a class's member, which may be wrapped."""
    if isinstance(member, property):
        yield from (one for one in (member.fget, member.fset) if one is not None)
        return
    function = getattr(member, "func", getattr(member, "__func__", member))
    if inspect.isfunction(function):
        yield function
