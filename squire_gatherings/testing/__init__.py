"""What tests of a behaviour, or of a program with a hall, need (docs/testing.md)."""

from squire_gatherings.testing._check import check_behaviour
from squire_gatherings.testing._hall import HallUnderTest, ServeStream, open_test_hall
from squire_gatherings.testing._link import ENDLESS, Break, Link, LinkEnd, Pipe
from squire_gatherings.testing._member import Member
from squire_gatherings.testing._network import Network
from squire_gatherings.testing._nodes import SharedMemory
from squire_gatherings.testing._raw import RawClient
from squire_gatherings.testing._recorder import Recorder
from squire_gatherings.testing._rehearsal import Rehearsal
from squire_gatherings.testing._saying import BrokenRule
from squire_gatherings.testing._store import FailingStore
from squire_gatherings.testing._trouble import Calls, StoreBroke, Trouble
from squire_gatherings.testing._wall_clock import WallClock

__all__ = [
    "ENDLESS",
    "Break",
    "BrokenRule",
    "Calls",
    "FailingStore",
    "HallUnderTest",
    "Link",
    "LinkEnd",
    "Member",
    "Network",
    "Pipe",
    "RawClient",
    "Recorder",
    "Rehearsal",
    "ServeStream",
    "SharedMemory",
    "StoreBroke",
    "Trouble",
    "WallClock",
    "check_behaviour",
    "open_test_hall",
]
