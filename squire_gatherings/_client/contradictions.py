"""Contradictions: what a server can't mean, by what we asked and know; all of it is `Lost`."""

from squire_gatherings._client.websocket import Lost
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.messages import Conflict, Dispersed, Fetch, Fetched, Joined
from squire_gatherings._values.op import Op


def check_joined(joined: Joined, gathering_id: str, since: int, has: int) -> None:
    """Check what the server says when it lets us in.

    Args:
        joined: What it says.
        gathering_id: Which gathering we wanted to join.
        since: The last seq that we had when we asked.
        has: The seq up to which the log must go, since we have been told so much of it.
    """
    if joined.gathering != gathering_id:
        raise Lost("the server let us into another gathering")
    if joined.seq < has:
        raise Lost(f"its last op is {joined.seq}, and we have more", CloseCode.LOG_REPLACED)
    if isinstance(joined.first_seq, int):
        if not since < joined.first_seq <= joined.seq + 1:
            raise Lost(f"the server says that the log begins at {joined.first_seq}")
        since = joined.first_seq - 1
    end = since + len(joined.ops) if isinstance(joined.ops, tuple) else since
    if end > joined.seq:
        raise Lost(f"the server says that its last op is {joined.seq}, but there is {end}")


def check_notice(notice: Dispersed, gathering_id: str) -> Dispersed:
    """Return the notice that the gathering has dispersed, unless it is another gathering's."""
    if notice.gathering != gathering_id:
        raise Lost("the server says that another gathering has dispersed")
    return notice


def check_conflict(conflict: Conflict, base: int) -> None:
    """Check the ops that came after the base of a sync."""
    if base + len(conflict.ops) > conflict.seq:
        raise Lost(f"the server sent {len(conflict.ops)} ops from {base} to {conflict.seq}")


def page_of(fetched: Fetched, fetch: Fetch) -> tuple[int, tuple[Op, ...], tuple[str | None, ...]]:
    """Return the ops that were fetched: the first one's seq, the ops, and who submitted them."""
    since = fetch.since or 0
    if isinstance(fetched.first_seq, int) and fetched.first_seq > since:
        since = fetched.first_seq - 1
    ops, by = fetched.ops, fetched.by
    if not isinstance(ops, tuple) or not isinstance(by, tuple):
        raise Lost("the server gave a snapshot where ops were asked for")
    if not ops or since + len(ops) > fetched.seq:
        raise Lost(f"the server gave {len(ops)} ops after {since}, of {fetched.seq} in all")
    return since + 1, ops, by
