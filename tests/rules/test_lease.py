"""The lease: how long what a node has stays its own, by its own clock."""

from squire_gatherings._rules.lease import Lease


def test_a_lease_counts_from_when_its_beat_was_sent() -> None:
    lease = Lease(5.0, 0.5)
    assert not lease.is_valid(0.0)
    # Clocks may begin anywhere.
    assert not lease.is_valid(-1000.0)
    lease.beaten(10.0)
    assert lease.is_valid(14.4)
    assert not lease.is_valid(14.5)
    # An answer that comes late tells less than is known.
    lease.beaten(9.0)
    assert lease.is_valid(14.4)


def test_a_lease_that_is_lost_stays_so_and_says_how_long_leases_are() -> None:
    lease = Lease(5.0, 0.5)
    lease.beaten(10.0)
    lease.lost()
    assert lease.is_lost
    assert not lease.is_valid(10.0)
    assert not lease.is_valid(-1000.0)
    lease.beaten(11.0)
    assert not lease.is_valid(11.0)
    assert lease.duration == 5.0
