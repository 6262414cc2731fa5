"""All states of a client that is forwarded ops: it has all of them in the end, or is given up."""

from tests.model.checker import check
from tests.model.delivery import Delivery
from tests.mutants.running import Outcome, run


def test_all_states_are_right() -> None:
    result = check(Delivery(ops=4))
    assert result.fault is None, str(result.fault)
    assert result.is_complete


def test_a_fault_of_the_window_is_found() -> None:
    found = run(
        "who acknowledges is given up all the same",
        ("model/test_delivery.py::test_all_states_are_right",),
        seconds=60,
    )
    assert found.outcome is Outcome.KILLED
