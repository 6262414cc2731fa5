"""The check: random rehearsals and random lives of a behaviour, and what must hold in each."""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import trio
from trio.testing import MockClock

from squire_gatherings._rules.behaviour import Behaviour
from squire_gatherings._values.errors import OpConflict, OpRejected
from squire_gatherings.testing._rehearsal import Rehearsal
from squire_gatherings.testing._saying import BrokenRule, short

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

USERS = {"alice": "member", "bob": "member", "carol": "member"}

STEPS = 30
"""The most that happens in one rehearsal, or one life."""


def check_behaviour(
    behaviour: Callable[[], Behaviour],
    ops: "SearchStrategy[dict[str, Any]] | Callable[[Any], SearchStrategy[dict[str, Any]]]",
    *,
    users: Mapping[str, str] = USERS,
    max_examples: int = 100,
    lives: int = 30,
) -> None:
    """Search for a case in which the behaviour breaks a rule.

    First it is rehearsed without a hall: random ops, judged and folded, sleeps and wakings, and
    after each step all copies must have the same state. Then it lives in a hall, with clients: they
    join, submit, are cut off and come back; the store fails, the gathering sleeps, wakes and
    disperses, the server restarts and is killed. In the end nothing that was acknowledged may be
    lost, doubled or out of order, and everybody must have what the log comes to.

    Call it in an ordinary test, not in an async one: it runs Trio itself, on a virtual clock. It
    takes a few seconds. It needs the extra `testing`. What isn't said here is as the profile of
    hypothesis says.

    Args:
        behaviour: What makes the behaviour, as `open_hall` is given it.
        ops: A strategy of hypothesis for ops, good ones and bad ones; or a function that returns
            one for a snapshot of the state, where ops must fit the state to be good.
        users: The role of each user who takes part, by name.
        max_examples: How many rehearsals are tried.
        lives: How many lives are tried.

    Raises:
        BrokenRule: A rule is broken. The text says which, and what had happened before, of the
            shortest such case that was found.
        ImportError: Hypothesis isn't installed.
    """
    try:
        import hypothesis
        from hypothesis import strategies as st

        from squire_gatherings.testing._life import live
        from squire_gatherings.testing._plans import SETTINGS, happens, some_of
    except ImportError as error:
        raise ImportError(
            "check_behaviour needs hypothesis: pip install 'squire-gatherings[testing]'"
        ) from error

    def rehearsals(data: Any) -> None:
        _rehearse(behaviour, ops, users, data.draw, st, some_of)

    def lived(data: Any, order: object) -> None:
        happen = happens(data.draw, ops, users, STEPS)
        settings = data.draw(SETTINGS)
        trio.run(live, behaviour, users, settings, happen, clock=MockClock(autojump_threshold=0))

    name = re.sub(r"\W+", "_", getattr(behaviour, "__qualname__", "a_behaviour"))
    for number, test, drawn in (
        (max_examples, rehearsals, (st.data(),)),
        (lives, lived, (st.data(), st.random_module())),
    ):
        if not number:
            continue
        # Hypothesis remembers failures by the test's name.
        test.__name__ = test.__qualname__ = f"{test.__name__}_of_{name}"
        usual = hypothesis.settings.default
        assert usual is not None
        tuned = hypothesis.settings(
            usual,
            max_examples=number,
            deadline=None,
            print_blob=False,
            report_multiple_bugs=False,
            # The story explains it; to vary each part of it costs many lives.
            phases=[one for one in usual.phases if one is not hypothesis.Phase.explain],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        try:
            tuned(hypothesis.given(*drawn)(test))()
        except BrokenRule as error:
            # Without the notes of each draw: the story tells the same.
            raise BrokenRule(str(error)) from None
        except hypothesis.errors.FlakyFailure as errors:
            [first, *_] = [one for one in errors.exceptions if isinstance(one, BrokenRule)]
            raise BrokenRule(f"{first}\n\nIn the same case, it doesn't happen each time.") from None


def _rehearse(
    behaviour: Callable[[], Behaviour],
    ops: Any,
    users: Mapping[str, str],
    draw: Callable[[Any], Any],
    st: Any,
    some_of: Any,
) -> None:
    story: list[str] = []
    try:
        rehearsal = Rehearsal(behaviour)
        for what in draw(some_of(["submit"] * 6 + ["sleep"], STEPS)):
            if what == "sleep":
                story.append("it sleeps, and is restored from its snapshot")
                rehearsal.sleep()
                continue
            who = draw(st.sampled_from(sorted(users)))
            base = max(0, rehearsal.seq - draw(st.sampled_from([0, 0, 1, 3])))
            one = ops(rehearsal.state) if callable(ops) else ops
            some = draw(st.lists(one, min_size=1, max_size=2))
            story.append(f"{who} submits {short(some)}")
            rehearsal.pass_time(draw(st.sampled_from([0.0, 0.001, 1.0, 86_400.0])))
            try:
                rehearsal.submit(*some, user=who, role=users[who], base=base)
            except ValueError as error:
                raise BrokenRule(f"an op isn't one: {error}") from None
            except (OpRejected, OpConflict) as error:
                story[-1] += f", and is refused: {error}"
        rehearsal.replay()
    except BrokenRule as error:
        raise BrokenRule(_with_story(str(error), story)) from error.__cause__


def _with_story(text: str, story: list[str]) -> str:
    lines = "\n".join(f"  {number}. {one}" for number, one in enumerate(story, start=1))
    return f"{text}\n\nWhat happened:\n{lines}"
