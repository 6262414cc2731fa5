"""The calls about gatherings: the list, one of them, its members, its log, and what ends them."""

import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime

import msgspec
import trio
from starlette.responses import Response

from squire_gatherings._admin.api import end_shapes, shapes
from squire_gatherings._admin.api.times import Times
from squire_gatherings._admin.operations import Call, Operation
from squire_gatherings._admin.problems import Refusal
from squire_gatherings._admin.streaming import Streamed
from squire_gatherings._hall.observing import Place, Question, Seen
from squire_gatherings._values.archive import LogInfo
from squire_gatherings._values.errors import BadRequest, StoreConflict
from squire_gatherings._values.ids import check_gathering_id
from squire_gatherings._values.numbers import MemberNumbers, Stage

PIECE = 64 * 1024
"""About how many bytes of an exported log go out at once."""

GATHERING = "/api/v1/gatherings/{gathering}"


async def list_gatherings(call: Call) -> shapes.Gatherings:
    """Return a part of the list of gatherings."""
    query: shapes.ListQuery = call.query
    survey = await call.observer.survey(
        Question(
            prefix=query.prefix,
            stages=tuple(Stage) if query.stage is None else (Stage(query.stage),),
            min_clients=query.min_clients,
            sort=query.sort,
            descending=query.order == "descending",
            after=None if query.cursor is None else _place(query.cursor, query.sort),
            limit=query.limit,
        )
    )
    times = Times.of(call.observer)
    return shapes.Gatherings(
        now=times.wall,
        gatherings=[_gathering(seen, times) for seen in survey.gatherings],
        matched=survey.matched,
        next=None if survey.next is None else _cursor(survey.next),
    )


def _cursor(place: Place) -> str:
    # MessagePack knows infinity, which is when many of them end.
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(place)).decode().rstrip("=")


STAGES: dict[Stage, shapes.StageName] = {
    Stage.OPEN: "open",
    Stage.ASLEEP: "asleep",
    Stage.ENDING: "ending",
}
"""What the API calls them. One that is being opened isn't shown."""


def _place(cursor: str, sort: str) -> Place:
    kind = str if sort == "id" else float
    try:
        data = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4))
        return msgspec.msgpack.decode(data, type=tuple[kind, str])  # type: ignore[valid-type]
    except (ValueError, RecursionError):
        raise Refusal(400, "bad_cursor", "the cursor isn't one of this order") from None


def _gathering(seen: Seen, times: Times) -> shapes.Gathering:
    numbers = seen.numbers
    return shapes.Gathering(
        id=numbers.gathering,
        incarnation=numbers.incarnation,
        stage=STAGES[seen.stage],
        opened_at=times.at(numbers.opened_at),
        deadline=times.maybe_at(numbers.deadline),
        ends_in=times.left(numbers.deadline),
        last_processed_at=times.at(numbers.last_processed_at),
        processed=numbers.processed,
        clients=numbers.clients,
        seq=numbers.seq,
        unacked=numbers.unacked,
    )


async def one_gathering(call: Call) -> shapes.GatheringAndLog:
    """Return a gathering as it is in memory, and its log."""
    gathering_id = check_gathering_id(call.gathering)
    try:
        info = await call.hall.logs.describe(gathering_id)
    except BadRequest:
        # The store does no more than it must.
        info = None
    seen = call.observer.gathering(gathering_id)
    log = None if info is None or info.is_deleted else _log(info)
    if seen is None and log is None:
        why = "was deleted" if info is not None else "is neither open nor stored"
        raise Refusal(404, "no_gathering", f"gathering {gathering_id} {why}")
    times = Times.of(call.observer)
    return shapes.GatheringAndLog(
        now=times.wall,
        id=gathering_id,
        open=None if seen is None else _gathering(seen, times),
        log=log,
    )


def _log(info: LogInfo) -> shapes.LogOf:
    return shapes.LogOf(
        first_seq=info.first_seq,
        seq=info.seq,
        first_time=info.first_time / 1000,
        last_time=info.last_time / 1000,
        size=info.size,
        syncs=info.syncs,
        snapshots=list(info.snapshots),
        head=info.head.hex(),
    )


async def activity_of(call: Call) -> shapes.Activity:
    """Return when a gathering was used: how many ops were committed in each slice of its life."""
    query: shapes.ActivityQuery = call.query
    gathering_id = check_gathering_id(call.gathering)
    since, until = query.since, query.until
    if since is None or until is None:
        first, last = await _life(call, gathering_id)
        since, until = (first if since is None else since), (last if until is None else until)
    ops = await call.hall.logs.activity(
        gathering_id,
        since=datetime.fromtimestamp(since, UTC),
        until=datetime.fromtimestamp(until, UTC),
        slices=query.slices,
    )
    now = Times.of(call.observer).wall
    return shapes.Activity(now=now, since=since, until=until, ops=list(ops))


async def _life(call: Call, gathering_id: str) -> tuple[float, float]:
    """Return when it was opened, and what time it is; or when its log begins and ends."""
    seen = call.observer.gathering(gathering_id)
    if seen is not None:
        await trio.lowlevel.checkpoint()
        times = Times.of(call.observer)
        since = times.at(seen.numbers.opened_at)
        return since, max(times.wall, since + 0.001)
    info = await call.hall.logs.describe(gathering_id)
    if info is None or not info.last_time:
        raise Refusal(404, "no_gathering", f"gathering {gathering_id} is neither open nor stored")
    return info.first_time / 1000, (info.last_time + 1) / 1000


async def members_of(call: Call) -> shapes.Members:
    """Return a part of the list of a gathering's clients."""
    query: shapes.MembersQuery = call.query
    _must_be_open(call)
    members = await call.observer.members(call.gathering, after=query.after, limit=query.limit)
    return shapes.Members(
        now=Times.of(call.observer).wall,
        members=[member_shape(one) for one in members],
        next=members[-1].number if len(members) == query.limit else None,
    )


def _must_be_open(call: Call) -> None:
    if call.observer.gathering(call.gathering) is None:
        raise Refusal(404, "not_open", f"gathering {call.gathering} isn't open")


def member_shape(one: MemberNumbers) -> shapes.Member:
    """Return a member as it is told."""
    return shapes.Member(
        number=one.number,
        user=one.user,
        role=one.role,
        expires_at=one.expires_at,
        acked=one.acked,
        unacked=one.unacked,
        waiting=one.waiting,
        backlog=one.backlog,
    )


async def export(call: Call) -> Response:
    """Return a log as lines of JSON, piece by piece."""
    gathering_id = check_gathering_id(call.gathering)
    pieces = _pieces(call, gathering_id)
    try:
        # What can't be exported is said before the answer begins.
        first = await anext(pieces)
    except StoreConflict as error:
        raise Refusal(404, "no_gathering", str(error)) from None
    headers = {"Content-Disposition": f'attachment; filename="{gathering_id}.jsonl"'}
    return Streamed(
        first,
        pieces,
        call.served.stopping,
        media_type="application/jsonl",
        headers=headers,
    )


async def _pieces(call: Call, gathering_id: str) -> AsyncGenerator[bytes, None]:
    piece = bytearray()
    async with aclosing(call.hall.logs.export(gathering_id)) as lines:  # type: ignore[type-var]
        async for line in lines:
            piece += line
            if len(piece) >= PIECE:
                yield bytes(piece)
                piece.clear()
                await trio.lowlevel.checkpoint()
    yield bytes(piece)


async def disperse(call: Call) -> end_shapes.Dispersal:
    """Disperse a gathering, and wait until it is gone."""
    return end_shapes.Dispersal(dispersed=await call.hall.disperse(call.gathering))


async def kick_from(call: Call) -> shapes.Closed:
    """Put a user out of a gathering."""
    body: shapes.KickFrom = call.body
    await trio.lowlevel.checkpoint()
    return shapes.Closed(closed=call.hall.kick(body.user, gathering_id=call.gathering))


async def delete(call: Call) -> shapes.Deleted:
    """Delete a log for good."""
    gathering_id = check_gathering_id(call.gathering)
    if call.query.confirm != gathering_id:
        raise Refusal(400, "not_confirmed", "to confirm, give the gathering's id as confirm, too")
    tombstone = await call.hall.logs.delete(gathering_id)
    if tombstone is None:
        raise Refusal(404, "no_gathering", f"nothing is stored of gathering {gathering_id}")
    return shapes.Deleted(seq=tombstone.seq, head=tombstone.head.hex(), time=tombstone.time / 1000)


OPERATIONS = (
    Operation(
        method="GET",
        path="/api/v1/gatherings",
        name="list_gatherings",
        does="List the gatherings that are in memory.",
        run=list_gatherings,
        answer=shapes.Gatherings,
        query=shapes.ListQuery,
    ),
    Operation(
        method="GET",
        path=GATHERING,
        name="get_gathering",
        does="Tell of one gathering, in memory or not, and of its log.",
        run=one_gathering,
        answer=shapes.GatheringAndLog,
        problems=(404, 503),
    ),
    Operation(
        method="DELETE",
        path=GATHERING,
        name="delete",
        does="Disperse a gathering and delete its log for good; a tombstone stays.",
        run=delete,
        answer=shapes.Deleted,
        query=shapes.DeleteQuery,
        problems=(404, 503),
    ),
    Operation(
        method="GET",
        path=GATHERING + "/members",
        name="list_members",
        does="List the clients that are connected to a gathering.",
        run=members_of,
        answer=shapes.Members,
        query=shapes.MembersQuery,
        problems=(404,),
    ),
    Operation(
        method="GET",
        path=GATHERING + "/activity",
        name="get_activity",
        does="Tell when a gathering was used: its ops, counted in slices of its life.",
        run=activity_of,
        answer=shapes.Activity,
        query=shapes.ActivityQuery,
        problems=(404, 503),
    ),
    Operation(
        method="GET",
        path=GATHERING + "/export",
        name="export",
        does="Give a gathering's log as lines of JSON, as `squire-gatherings import` takes them.",
        run=export,
        media_type="application/jsonl",
        problems=(404, 409, 503),
    ),
    Operation(
        method="POST",
        path=GATHERING + "/disperse",
        name="disperse",
        does="End a gathering now, with a notice to all its clients, and wait until it is gone.",
        run=disperse,
        answer=end_shapes.Dispersal,
    ),
    Operation(
        method="POST",
        path=GATHERING + "/kick",
        name="kick_from",
        does="Put a user out of a gathering. It may come back, if it is let in.",
        run=kick_from,
        answer=shapes.Closed,
        body=shapes.KickFrom,
    ),
)
