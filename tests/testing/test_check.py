"""The check of a behaviour: what it finds, and what it says of it."""

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st

from squire_gatherings import Stamp
from squire_gatherings.testing import BrokenRule, Rehearsal, check_behaviour
from tests.support import Stamped, Strict, Sum, examples
from tests.testing.broken import BROKEN, OPS, LetsPassWhatFoldCant, Results

ADDS = st.fixed_dictionaries({"add": st.integers(-3, 5)})


@pytest.fixture
def _first_found() -> Iterator[None]:
    """Have hypothesis show what it finds first: to look for the shortest case takes long."""
    settings.register_profile("first", settings.get_profile("steady"), phases=[Phase.generate])
    settings.load_profile("first")
    yield
    settings.load_profile("steady")


@pytest.mark.usefixtures("_first_found")
@pytest.mark.parametrize("broken", BROKEN)
def test_what_breaks_a_rule_is_found(broken: type[Results]) -> None:
    with pytest.raises(BrokenRule, match=f"^{BROKEN[broken]}"):
        check_behaviour(broken, OPS, lives=0)


@pytest.mark.usefixtures("_first_found")
@pytest.mark.parametrize("broken", list(BROKEN)[::4])
def test_it_is_found_in_a_hall_too(broken: type[Results]) -> None:
    with pytest.raises(BrokenRule, match=f"^{BROKEN[broken]}"):
        check_behaviour(broken, OPS, max_examples=0)


def test_the_shortest_story_is_told() -> None:
    with pytest.raises(BrokenRule) as raised:
        check_behaviour(LetsPassWhatFoldCant, OPS, lives=0)
    said, story = str(raised.value).split("\n\nWhat happened:\n")
    assert said == (
        "fold raised KeyError('two') over op 1, {'games': 2, 'who': 'a'}, which judge let pass: "
        "judge must refuse what fold can't take"
    )
    assert story == "  1. alice submits [{'games': 2, 'who': 'a'}]"


@pytest.mark.parametrize("well", [Results, Sum, Stamped, Strict])
def test_what_breaks_no_rule_passes(well: type[Results]) -> None:
    ops = OPS if well is Results else ADDS
    check_behaviour(well, ops, max_examples=examples(15), lives=examples(8))


@pytest.mark.usefixtures("_first_found")
def test_ops_that_are_none_are_found() -> None:
    with pytest.raises(BrokenRule, match="can't contain set"):
        check_behaviour(Results, st.just({"who": {"a"}}), lives=0)


def test_ops_may_depend_on_the_state() -> None:
    seen: list[int] = []

    def ops(state: dict[str, int]) -> st.SearchStrategy[dict[str, int]]:
        seen.append(state["total"])
        return st.just({"add": 1})

    check_behaviour(Sum, ops, max_examples=5, lives=2)
    assert max(seen) > 0


@pytest.mark.usefixtures("_first_found")
def test_the_same_object_twice_is_found() -> None:
    one = Results()
    with pytest.raises(BrokenRule, match="the same object twice"):
        check_behaviour(lambda: one, OPS, lives=0)


def test_a_rehearsal_by_hand() -> None:
    rehearsal = Rehearsal(Results)
    assert rehearsal.submit({"who": "a", "games": 1}, user="alice") == (1,)
    before = rehearsal.behaviour
    rehearsal.sleep()
    assert rehearsal.behaviour is not before
    rehearsal.submit({"who": "a", "games": 2}, {"who": "b", "games": 0}, user="bob")
    assert rehearsal.state == {"a": 2, "b": 0}
    assert [stamp for _, stamp in rehearsal.log] == [
        Stamp(1, rehearsal.time, "alice"),
        Stamp(2, rehearsal.time, "bob"),
        Stamp(3, rehearsal.time, "bob"),
    ]
    rehearsal.replay()
    rehearsal.behaviour.games["c"] = 1
    with pytest.raises(BrokenRule, match=r"has another state: only one of the two has \.c"):
        rehearsal.replay()


HIDES_IT = """
import sys
sys.modules["hypothesis"] = None
from squire_gatherings.testing import Rehearsal, check_behaviour, open_test_hall
try:
    check_behaviour(None, None)
except ImportError as error:
    print(error)
print({"hypothesis.core", "pytest_trio"} & set(sys.modules))
"""


def test_only_the_check_needs_the_extra() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", HIDES_IT], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    needs, loaded = done.stdout.splitlines()
    assert re.fullmatch(r"check_behaviour needs hypothesis: pip install '.*\[testing\]'", needs)
    assert loaded == "set()"
