"""All that a documented call takes, returns or raises can be imported from the public face."""

import inspect
import re
import typing
from collections.abc import Iterator
from typing import Any

import pytest

import squire_gatherings
import squire_gatherings.client

FACES = (squire_gatherings, squire_gatherings.client)
PUBLIC = {id(getattr(face, name)) for face in FACES for name in face.__all__}
EXPORTED = [getattr(face, name) for face in FACES for name in face.__all__]
NAMES = {name for face in FACES for name in face.__all__}
OURS = "squire_gatherings."


def functions_of(one: Any) -> Iterator[Any]:
    """The public calls of something exported: itself, or its public methods and properties."""
    if not inspect.isclass(one):
        if callable(one):
            yield one
        return
    if not issubclass(one, BaseException):
        for name, member in vars(one).items():
            function = member.fget if isinstance(member, property) else member
            function = getattr(function, "__func__", function)
            if not name.startswith("_") and inspect.isfunction(function):
                yield function


def mentioned(hint: Any) -> Iterator[Any]:
    """The classes of ours in a type."""
    for part in typing.get_args(hint):
        if isinstance(part, list):
            for one in part:
                yield from mentioned(one)
        else:
            yield from mentioned(part)
    if inspect.isclass(hint) and hint.__module__.startswith(OURS):
        yield hint


CALLS = sorted(
    {function for one in EXPORTED for function in functions_of(one)},
    key=lambda function: function.__qualname__,
)


def unwrapped(function: Any) -> Any:
    return inspect.unwrap(function)


@pytest.mark.parametrize("function", CALLS, ids=lambda one: one.__qualname__)
def test_what_it_takes_and_returns_is_public(function: Any) -> None:
    function = unwrapped(function)
    module = inspect.getmodule(function)
    hints = typing.get_type_hints(function, vars(module))
    for hint in hints.values():
        for one in mentioned(hint):
            assert id(one) in PUBLIC, f"{function.__qualname__}: {one.__qualname__}"


@pytest.mark.parametrize("function", CALLS, ids=lambda one: one.__qualname__)
def test_what_it_says_that_it_raises_is_public(function: Any) -> None:
    text = unwrapped(function).__doc__ or ""
    errors = {cls.__name__ for cls in subclasses(squire_gatherings.GatheringsError)}
    for name in re.findall(r"`(\w+)`", text):
        if name in errors:
            assert name in NAMES, f"{function.__qualname__} raises {name}"


def subclasses(base: type) -> set[type]:
    direct: set[type] = set(base.__subclasses__())
    return direct | {one for cls in direct for one in subclasses(cls)}


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
