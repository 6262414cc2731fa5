"""Unanswered requests, as plain rules: they may be withdrawn until they have gone out."""

from squire_gatherings._client.pace import Pace
from squire_gatherings._client.queue import Queue
from squire_gatherings._client.requests import Requests
from squire_gatherings._rules.behaviour import LogBehaviour
from squire_gatherings._rules.change_queue import ChangeQueue
from squire_gatherings._rules.replica import Replica
from squire_gatherings._values.op import Op

OPS = (Op.of({"n": 1}),)


def new_requests() -> Requests:
    replica = Replica(ChangeQueue(10**6), LogBehaviour)
    return Requests("friday-night", replica, Queue(Pace(30.0, 0.5), 0.5))


def test_a_request_that_never_went_out_is_withdrawn() -> None:
    requests = new_requests()
    answer = requests.ask_to_sync("a", OPS)
    assert requests
    requests.withdraw("a", answer)
    requests.leave("a", answer)
    assert not requests
    requests.begin(None)
    assert requests.next(0.0) is None


def test_a_request_that_went_out_stays_until_it_is_answered() -> None:
    requests = new_requests()
    requests.begin(None)
    answer = requests.ask_to_sync("a", OPS)
    assert requests.next(0.0) is not None
    requests.withdraw("a", answer)
    assert requests.sync_of("a") is not None


def test_withdrawing_leaves_a_later_request_alone() -> None:
    # A task is cancelled. Before it runs, its sync is answered, and another task submits it again.
    requests = new_requests()
    requests.begin(None)
    earlier = requests.ask_to_sync("a", OPS)
    assert requests.next(0.0) is not None
    requests.synced("a", (1,))
    requests.replica.synced("a", (1,))
    requests.ask_to_sync("a", OPS)
    requests.withdraw("a", earlier)
    requests.leave("a", earlier)
    assert requests.sync_of("a") is not None
    assert requests.next(0.0) is not None
