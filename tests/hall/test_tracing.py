"""Spans of joins and syncs, as OpenTelemetry's own SDK collects them."""

import subprocess
import sys

import pytest
import trio
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer, format_span_id, format_trace_id
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings import HandshakeRequest, Identity, Unauthorized, open_hall
from squire_gatherings._hall.gathering import Gathering
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.messages import Sync, Synced
from squire_gatherings._values.op import Op
from squire_gatherings.testing import FailingStore
from tests.support import Recorder

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
ALICE = Identity("alice")


class Traces:
    """What was traced."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer: Tracer = provider.get_tracer("squire_gatherings")

    def spans(self, name: str) -> list[ReadableSpan]:
        return [one for one in self._exporter.get_finished_spans() if one.name == name]


@pytest.fixture
def traces() -> Traces:
    return Traces()


def events(span: ReadableSpan) -> list[str]:
    return [one.name for one in span.events]


def sync(name: str, base: int = 0) -> Sync:
    return Sync(name, base, (Op.of({"n": name}),))


async def test_from_the_join_to_the_forward(traces: Traces) -> None:
    request = HandshakeRequest(
        path="/gatherings/room",
        headers=[("Traceparent", f"00-{TRACE}-{PARENT}-01"), ("Cookie", "s3cret=1")],
    )
    async with open_hall(tracer=traces.tracer) as hall:
        author, other = Recorder(), Recorder()
        member = await hall.join(
            "room", author, request=request, identity=ALICE, client="s3cret", token="s3cret"
        )
        await hall.join("room", other)
        member.deliver_nowait(sync("s3cret"))
        await author.wait_for(Synced)
        await wait_all_tasks_blocked()
        # It is over once everybody was brought its ops.
        [synced] = traces.spans("sync")
    first, second = traces.spans("join")
    assert first.parent is not None
    assert first.context is not None
    assert format_trace_id(first.context.trace_id) == TRACE
    assert format_span_id(first.parent.span_id) == PARENT
    assert second.parent is None
    about = {"squire.gathering": "room", "squire.incarnation": member.incarnation}
    assert first.attributes == about | {"enduser.id": "alice"}
    assert second.attributes == about
    # A sync is a trace of its own: its connection may last for days.
    assert synced.parent is None
    assert [link.context.span_id for link in synced.links] == [first.context.span_id]
    assert synced.attributes == about | {
        "enduser.id": "alice",
        "squire.ops": 1,
        "squire.first_seq": 1,
        "squire.last_seq": 1,
    }
    assert events(synced) == ["judged", "committed", "answered", "forwarded"]
    assert synced.events[-1].attributes == {"squire.clients": 2}
    for span in (first, second, synced):
        assert "s3cret" not in span.to_json()


async def test_a_call_of_the_program_is_part_of_its_trace(traces: Traces) -> None:
    async with open_hall(tracer=traces.tracer) as hall:
        with traces.tracer.start_as_current_span("ours") as ours:
            await hall.submit("room", [{"a": 1}])
    [span] = traces.spans("sync")
    assert span.parent == ours.get_span_context()
    assert not span.links


async def refuse(token: str | None, gathering_id: str) -> Identity:
    raise Unauthorized("no such ticket")


async def test_what_is_refused_is_an_error(traces: Traces) -> None:
    async with open_hall(tracer=traces.tracer, authenticate=refuse, max_ops=1) as hall:
        with pytest.raises(Unauthorized):
            await hall.join("room", Recorder())
        author = Recorder()
        member = await hall.join("room", author, identity=ALICE)
        member.deliver_nowait(Sync("1", 0, (Op.of({}), Op.of({}))))
        member.deliver_nowait(sync("2", base=7))
        member.deliver_nowait(sync("3"))
        member.deliver_nowait(sync("3"))
        await author.wait_for(Synced, 2)
        await wait_all_tasks_blocked()
    refused, joined = traces.spans("join")
    assert (refused.status.status_code, joined.status.status_code) == (
        StatusCode.ERROR,
        StatusCode.UNSET,
    )
    told = [(one.status.description, events(one)) for one in traces.spans("sync")]
    assert told == [
        ("too_big", []),
        ("bad_base", []),
        # It was applied already: it gets the same answer.
        (None, ["judged"]),
        (None, ["judged", "committed", "answered", "forwarded"]),
    ]


async def test_a_commit_that_fails_shows(traces: Traces, autojump_clock: MockClock) -> None:
    store = FailingStore()
    store.trouble("append", "waits")
    async with open_hall(store=store, tracer=traces.tracer) as hall:
        author = Recorder()
        member = await hall.join("room", author, identity=ALICE)
        store.trouble("append", "busy", error=StoreUnavailable("database is locked"))
        member.deliver_nowait(sync("1"))
        await trio.sleep(0.1)
        assert not traces.spans("sync")
        store.trouble("append", "waits")
        await trio.sleep(10)
        [span] = traces.spans("sync")
        assert events(span) == ["judged", "postponed", "committed", "answered", "forwarded"]
        # What its gathering's end finds still waiting has a span, too.
        store.trouble("append", "busy", error=StoreUnavailable("database is locked"))
        member.deliver_nowait(sync("2", base=1))
        await trio.sleep(0.1)
    assert "the gathering ended" in str(traces.spans("sync")[-1].status.description)


async def test_a_crowd(traces: Traces) -> None:
    async with open_hall(tracer=traces.tracer) as hall:
        crowd = [Recorder() for _ in range(300)]
        for one in crowd:
            await hall.join("room", one)
        await hall.submit("room", [{"a": 1}])
        await wait_all_tasks_blocked()
        [span] = traces.spans("sync")
        assert events(span)[-1] == "forwarded"
        assert all(one.forwards() for one in crowd)


@pytest.mark.parametrize(
    "header", ["", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "x" * 9000, "\x00"]
)
async def test_a_traceparent_that_is_none(header: str, traces: Traces) -> None:
    request = HandshakeRequest(path="/", headers=[("traceparent", header)])
    async with open_hall(tracer=traces.tracer) as hall:
        await hall.join("room", Recorder(), request=request)
    [span] = traces.spans("join")
    assert span.parent is None


async def test_the_joins_of_clients_that_left_are_forgotten(traces: Traces) -> None:
    async with open_hall(tracer=traces.tracer) as hall:
        await hall.open("room")
        room = hall._registry.living["room"].room
        for _ in range(100):
            member = await hall.join("room", Recorder())
            member.detach()
        assert len(room.inbox.spans._joins) < 20  # type: ignore[attr-defined]


async def test_without_a_tracer_a_gathering_is_made_of_the_plain_parts() -> None:
    async with open_hall() as hall:
        assert hall._registry.make_gathering is Gathering
        await hall.open("room")
        assert type(hall._registry.living["room"].room.inbox).__name__ == "Inbox"


def test_without_a_tracer_nothing_is_imported() -> None:
    script = "import sys, squire_gatherings._open_hall, squire_gatherings._cli.serve; "
    script += "print([*sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "'squire_gatherings._hall.gathering'" in done.stdout
    assert "opentelemetry" not in done.stdout
