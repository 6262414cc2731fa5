"""All that a documented call takes, returns or raises can be imported from the public face."""

import contextlib
import functools
import importlib
import pkgutil
import re
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Generic, NewType, TypeVar

import attrs
import pytest
import trio

import squire_gatherings
import squire_gatherings.client
from tests.signatures import Surface

MODULES = {
    module.name: importlib.import_module(module.name)
    for module in pkgutil.walk_packages(squire_gatherings.__path__, "squire_gatherings.")
    if not module.name.endswith("__main__")
    and "._load" not in module.name
    and "._conform" not in module.name
}
"""All modules but the load test and the conformance test, so that no error is overlooked."""

FACES = [squire_gatherings, *(MODULES[name] for name in MODULES if "._" not in name)]
EXPORTED = {
    f"{face.__name__}.{name}": getattr(face, name) for face in FACES for name in face.__all__
}
PUBLIC = {id(one) for one in EXPORTED.values()}
NAMES = {name for face in FACES for name in face.__all__}
SURFACE = Surface("squire_gatherings")
exported = pytest.mark.parametrize("name", EXPORTED)

USERS_PAGES = ("README", "docs/client", "docs/embedding", "docs/life-of-a-gathering")
ROOT = Path(__file__).parent.parent


@exported
def test_arguments_results_and_attributes_are_public(name: str) -> None:
    for place, hint in SURFACE.places(name, EXPORTED[name]):
        for one in SURFACE.mentioned(hint):
            assert id(one) in PUBLIC, f"{place}: {one.__qualname__}"


@exported
def test_documented_errors_are_public(name: str) -> None:
    one = EXPORTED[name]
    docstrings = [function.__doc__ for _, function in SURFACE.functions(name, one)]
    for docstring in (*docstrings, getattr(one, "__doc__", None)):
        assert SURFACE.raised(docstring) <= NAMES


@pytest.mark.parametrize("page", USERS_PAGES)
def test_the_errors_that_the_docs_name_are_public(page: str) -> None:
    marked = re.findall(r"`[^`]+`|```.+?```", (ROOT / f"{page}.md").read_text(), re.DOTALL)
    assert SURFACE.raised(" ".join(marked)) <= NAMES


def test_every_error_that_a_face_has_is_one_of_ours() -> None:
    for name, one in EXPORTED.items():
        if isinstance(one, type) and issubclass(one, Exception):
            ours = squire_gatherings.GatheringsError | OSError | ValueError | AssertionError
            # What a channel of a program raises says something, and nothing is wrong.
            assert issubclass(one, ours | trio.EndOfChannel), name


def test_everything_is_said_once_and_is_there() -> None:
    for face in FACES:
        assert sorted(face.__all__) == sorted(set(face.__all__))
        for name in face.__all__:
            assert hasattr(face, name)


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        (squire_gatherings.HallOptions, squire_gatherings.HallSettings),
        (squire_gatherings.client.ClientOptions, squire_gatherings.client.ClientSettings),
    ],
)
def test_options_are_the_settings(options: type, settings: type) -> None:
    assert typing.get_type_hints(options) == typing.get_type_hints(settings)


# The walk itself finds `Hidden`, wherever it is.

T = TypeVar("T")


class Hidden(Generic[T]):
    """A class that no face exports."""


class HiddenError(Exception):
    """An error that no face exports."""


Bound = TypeVar("Bound", bound=Hidden[int])
Renamed = NewType("Renamed", Hidden[int])


class HiddenOptions(typing.TypedDict, total=False):
    """Keyword arguments that no face exports."""


class Parent:
    def inherited(self) -> Hidden[int]:
        raise NotImplementedError


@attrs.frozen
class Attribute:
    value: tuple[Hidden[int], ...]


class Method:
    def method(self, value: Callable[[Hidden[int]], Awaitable[None]]) -> None: ...


class Returns:
    async def method(self) -> Sequence[Hidden[int] | None]:
        raise NotImplementedError


class Property:
    @property
    def value(self) -> Hidden[int]:
        raise NotImplementedError


class CachedProperty:
    @functools.cached_property
    def value(self) -> Hidden[int]:
        raise NotImplementedError


class ClassMethod:
    @classmethod
    def make(cls) -> dict[str, Hidden[int]]:
        raise NotImplementedError


class Static:
    @staticmethod
    def make(value: type[Hidden[int]]) -> None: ...


class Child(Parent):
    pass


class Constructor:
    def __init__(self, value: Hidden[int]) -> None: ...


class Iterates:
    def __aiter__(self) -> AsyncIterator[Hidden[int]]:
        raise NotImplementedError


class Failure(Exception):
    lacking: Hidden[int]


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[Hidden[int]]:
    yield Hidden()


def bounded(value: Bound) -> Bound:
    return value


def renamed(value: Renamed) -> None: ...


def annotated(value: typing.Annotated[Hidden[int], "text"]) -> None: ...


def optioned(**options: typing.Unpack[HiddenOptions]) -> None: ...


def quoted(value: "Hidden[int]") -> None: ...


@pytest.mark.parametrize(
    "one",
    [
        Attribute,
        Method,
        Returns,
        Property,
        CachedProperty,
        ClassMethod,
        Static,
        Child,
        Constructor,
        Iterates,
        Failure,
        opened,
        bounded,
        renamed,
        annotated,
        optioned,
        quoted,
        Hidden(),
        Callable[[Hidden[int]], None],
    ],
    ids=lambda one: getattr(one, "__name__", type(one).__name__),
)
def test_the_walk_finds_what_is_hidden(one: Any) -> None:
    surface = Surface(__name__)
    found = {found for _, hint in surface.places("one", one) for found in surface.mentioned(hint)}
    assert found & {Hidden, HiddenOptions}


def test_the_walk_wants_types() -> None:
    def untyped(value):  # type: ignore[no-untyped-def]
        ...

    with pytest.raises(AssertionError, match="have no types"):
        list(Surface(__name__).places("untyped", untyped))


@pytest.mark.parametrize(
    "docstring",
    [
        "Do it. Raises `HiddenError` where it can't.",
        "Do it.\n\nRaises:\n    HiddenError: It can't.\n",
        "Do it.\n\nRaises:\n    ValueError, HiddenError: It can't.\n",
    ],
)
def test_the_walk_finds_errors_in_docstrings(docstring: str) -> None:
    assert Surface(__name__).raised(docstring) == {"HiddenError"}
