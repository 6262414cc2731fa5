"""A story: a rule of the protocol, and the function that plays a client to see if it keeps it."""

from collections.abc import Awaitable, Callable

from attrs import frozen

from squire_gatherings._conform.rules import Rule
from squire_gatherings._conform.stage import Stage

Play = Callable[[Stage], Awaitable[None]]


@frozen
class Story:
    """One story."""

    name: str
    rule: Rule
    play: Play
    needs: frozenset[str]
    """What a client must be able to do beside the least."""


STORIES: dict[str, Story] = {}
"""All stories by their names, in the order in which they are played."""


def story(rule: str, see: str, *needs: str) -> Callable[[Play], Play]:
    """Make a story of a function, under its name.

    Args:
        rule: The rule in one sentence.
        see: The anchor in the protocol's page.
        needs: What else a client must be able to do: `state`, `snapshot`, `fetch`,
            `renew`, `presence`.
    """

    def add(play: Play) -> Play:
        name = play.__name__.replace("_", "-")
        assert name not in STORIES
        STORIES[name] = Story(name, Rule(rule, see), play, frozenset(needs))
        return play

    return add
