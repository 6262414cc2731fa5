"""What is counted is what happened, and a scrape shows it in the way that Prometheus reads."""

import gc
import re
from collections import Counter
from pathlib import Path

import pytest
import trio
import trio.testing
from prometheus_client.parser import text_string_to_metric_families
from wsproto.frame_protocol import Opcode

from squire_gatherings import (
    Ack,
    DispersalReason,
    Hall,
    LogReplaced,
    Op,
    ServerSettings,
    Sync,
    Unauthorized,
    open_hall,
    serve_stream,
)
from squire_gatherings._admin.metrics.collector_pauses import CollectorPauses
from squire_gatherings._admin.metrics.exposition import Exposition, Numbers
from squire_gatherings._admin.metrics.loop_delay import INTERVAL, LoopDelay
from squire_gatherings._hall.parts import observer_of, quotas_of
from squire_gatherings._hall.tally import LAST, Tally
from squire_gatherings._values.numbers import Stage
from tests.admin.port import open_port
from tests.server.test_hostile import request
from tests.server.test_keep_alive import PONG
from tests.server.test_timing import Client
from tests.support import Fragile, Recorder, Strict, slow_store


def shown(hall: Hall) -> dict[str, float]:
    """Return what a scrape shows, by name and labels."""
    numbers = Numbers(observer_of(hall), quotas_of(hall), LoopDelay(), CollectorPauses(), "1")
    return read(Exposition(numbers).text().decode())


def read(text: str) -> dict[str, float]:
    """Return what a scrape says, by name and labels."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def tally_of(hall: Hall) -> Tally:
    return observer_of(hall).tally


def sync(number: int, base: int = 0, *, key: str = "a") -> Sync:
    return Sync(f"sync-{number}", base, (Op.of({key: number}),))


async def test_a_life_is_counted(autojump_clock: trio.testing.MockClock) -> None:
    async with open_hall(idle_timeout=10, empty_timeout=4) as hall:
        first, second = Recorder(), Recorder()
        member = await hall.join("room", first)
        other = await hall.join("room", second, since=0)
        for number in range(3):
            await member.deliver(sync(number))
        await trio.testing.wait_all_tasks_blocked()
        await other.deliver(Ack(3))
        await trio.testing.wait_all_tasks_blocked()
        found = shown(hall)
        assert found["squire_gatherings{stage=open}"] == 1
        assert found["squire_gatherings_opened_total"] == 1
        assert found["squire_clients"] == 2
        assert found["squire_messages_total"] == 6
        assert found["squire_syncs_total{outcome=synced}"] == 3
        assert found["squire_forwarded_ops_total"] == 3
        assert found["squire_joins_total{kind=new,outcome=joined}"] == 1
        assert found["squire_joins_total{kind=since,outcome=joined}"] == 1
        assert found["squire_committed_ops_sum"] == 3
        assert found["squire_commit_duration_seconds_count"] == found["squire_committed_ops_count"]
        assert found["squire_restore_duration_seconds_count"] == 1

        await trio.sleep(11)
        found = shown(hall)
        assert found["squire_gatherings{stage=open}"] == 0
        assert found["squire_gatherings{stage=ending}"] == 0
        assert found["squire_dispersals_total{rule=idle}"] == 1
        assert found["squire_dispersal_lateness_seconds_count"] == 1
        assert found["squire_dispersal_lateness_seconds_sum"] == 0
        assert found["squire_notices_total{outcome=sent}"] == 2
        assert found["squire_gathering_lifetime_seconds_sum"] == 10
        [end] = observer_of(hall).endings(10)
        assert (end.gathering, end.reason, end.processed) == ("room", DispersalReason.IDLE, 6)
        assert (end.lateness, end.lifetime, end.seq) == (0, 10, 3)


async def test_syncs_are_counted_by_what_became_of_them(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_hall(behaviour=Strict) as hall:
        member = await hall.join("room", Recorder())
        other = await hall.join("room", Recorder())
        await member.deliver(sync(1, key="add"))
        await member.deliver(sync(1, key="add"))
        await member.deliver(Sync("sync-1", 0, (Op.of({"add": 5}),)))
        await other.deliver(sync(2, key="add"))
        await trio.testing.wait_all_tasks_blocked()
        found = shown(hall)
        outcomes = {
            name.partition("outcome=")[2].rstrip("}"): count
            for name, count in found.items()
            if name.startswith("squire_syncs_total")
        }
        assert outcomes == {"synced": 1, "repeated": 1, "id_reused": 1, "conflict": 1}


async def test_joins_are_counted_by_what_became_of_them(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def authenticate(token: str | None, *_: object) -> None:
        raise Unauthorized("no")

    async with open_hall(authenticate=authenticate) as hall:  # type: ignore[arg-type]
        with pytest.raises(Unauthorized):
            await hall.join("room", Recorder())
    async with open_hall() as other:
        with pytest.raises(LogReplaced):
            await other.join("room", Recorder(), since=3, epoch="x")
        incarnation = (await other.join("room", Recorder())).incarnation
        await other.join("room", Recorder(), resume=incarnation)
    assert tally_of(hall).joins == Counter({("new", "unauthorized"): 1})
    assert tally_of(other).joins == Counter(
        {("since", "log_replaced"): 1, ("new", "joined"): 1, ("resume", "joined"): 1}
    )


async def test_commits_that_take_time_are_measured(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_hall(store=slow_store(seconds=0.3, nursery=nursery)) as hall:
        await hall.submit("room", [{"a": 1}, {"a": 2}])
        await hall.submit("room", [{"a": 3}])
        tally = tally_of(hall)
        assert tally.commits.total == pytest.approx(0.6)
        assert (tally.at_once, tally.committed) == (0, {2: 1, 1: 1})
        assert dict(tally.commits.cumulative())[0.5] == 2
        assert dict(tally.commits.cumulative())[0.25] == 0


async def test_retries_and_slow_notices_are_counted(autojump_clock: trio.testing.MockClock) -> None:
    async with open_hall(retry_limit=0.7, close_grace=1) as hall:
        await hall.join("room", Recorder())
        await hall.submit("room", [{"a": 1}])
        await trio.sleep(0.5)
        assert tally_of(hall).retries == 1
        await hall.join("other", Recorder(stuck=True))
        await hall.join("other", Recorder())
        await hall.disperse("other")
        assert tally_of(hall).notices == Counter({"sent": 1, "cut_off": 1})


async def test_a_crash_leaves_all_stages_right(autojump_clock: trio.testing.MockClock) -> None:
    async with open_hall(behaviour=Fragile) as hall:
        member = await hall.join("room", Recorder())
        await member.deliver(sync(1, key="boom"))
        await trio.testing.wait_all_tasks_blocked()
        assert tally_of(hall).stages == dict.fromkeys(Stage, 0)
        [end] = observer_of(hall).endings(1)
        assert (end.reason, end.lateness) == (DispersalReason.CRASHED, None)


async def test_an_end_for_another_reason_has_no_lateness(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_hall() as hall:
        for number in range(LAST + 5):
            await hall.open(f"room-{number}")
            await hall.disperse(f"room-{number}")
        ends = observer_of(hall).endings(2 * LAST)
        assert len(ends) == LAST
        assert [one.gathering for one in ends[:2]] == [f"room-{LAST + 4}", f"room-{LAST + 3}"]
        assert {one.lateness for one in ends} == {None}
        assert sum(tally_of(hall).lateness.counts) == 0


async def test_no_label_has_an_id(tmp_path: Path) -> None:
    async with open_port(tmp_path) as port:
        member = await port.hall.join("secret-room", Recorder(), client="secret-client")
        await port.hall.submit("secret-room", [{"secret": 1}])
        member.detach()
        await port.hall.disperse("secret-room")
        answer = await port.client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=")
        assert "secret" not in answer.text
        families = list(text_string_to_metric_families(answer.text))
        ours = [family for family in families if family.name.startswith("squire_")]
        assert {family.type for family in ours} <= {"counter", "gauge", "histogram", "info"}
        for family in ours:
            assert family.documentation
            # Base units: nothing in milliseconds or kilobytes.
            assert not re.search("(?i)milli|_ms$|kilo|_kb$|micro", family.name)
        process = {family.name for family in families} - {family.name for family in ours}
        assert "process_resident_memory_bytes" in process


async def test_the_loops_delay_is_measured(autojump_clock: trio.testing.MockClock) -> None:
    delay = LoopDelay()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(delay.run)
        await trio.sleep(10 * INTERVAL + INTERVAL / 2)
        assert sum(delay.delays.counts) == 10
        assert delay.worst(trio.current_time()) == 0
        # Nobody else ran meanwhile.
        autojump_clock.jump(3)
        assert delay.worst(trio.current_time()) == pytest.approx(3 - INTERVAL / 2)
        await trio.sleep(INTERVAL)
        assert delay.delays.total == pytest.approx(3 - INTERVAL / 2)
        assert delay.worst(trio.current_time()) == pytest.approx(3 - INTERVAL / 2)
        await trio.sleep(60 * INTERVAL)
        assert delay.worst(trio.current_time()) == 0
        nursery.cancel_scope.cancel()


def test_pauses_of_the_collector_are_measured_while_wanted() -> None:
    pauses = CollectorPauses()
    before = list(gc.callbacks)
    with pauses.measured():
        gc.collect()
    gc.collect()
    assert sum(pauses.pauses[2].counts) == 1
    assert pauses.pauses[2].total > 0
    assert gc.callbacks == before


async def test_events_and_the_budget_are_shown(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_hall() as hall:
        found = shown(hall)
        assert found["squire_held_bytes_limit"] == float("inf")
        assert "squire_events_waiting" not in found
    taken = trio.Event()

    async def take(event: object) -> None:
        await taken.wait()

    async with open_hall(on_event=take, max_memory=10**9, max_events=100) as hall:
        await hall.open("room")
        found = shown(hall)
        assert found["squire_held_bytes_limit"] == 10**9
        assert (found["squire_events_waiting"], found["squire_events_limit"]) == (1, 100)
        taken.set()
        await trio.testing.wait_all_tasks_blocked()
        found = shown(hall)
        assert (found["squire_events_waiting"], found["squire_events_delivered_total"]) == (0, 1)
        assert found["squire_events_omitted_total"] == 0


async def test_connections_pings_and_close_codes_are_counted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_hall() as hall, trio.open_nursery() as nursery:
        for ending in ("leaves", "breaks off", "dispersed"):
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(serve_stream, hall, ours, ServerSettings(ping_interval=30))
            await theirs.send_all(request())
            answer = b""
            while not answer.endswith(b"\r\n\r\n"):
                answer += await theirs.receive_some(1)
            client = Client(theirs)
            await client.say(type="join")
            await client.hear()
            if ending == "breaks off":
                await theirs.aclose()
            elif ending == "leaves":
                assert (await client.next())[0] is Opcode.PING
                await trio.sleep(0.2)
                await theirs.send_all(PONG)
                await trio.testing.wait_all_tasks_blocked()
                await client.say(type="leave")
            else:
                await hall.disperse("room")
            await trio.sleep(20)
        found = shown(hall)
        assert found["squire_connections_accepted_total"] == 3
        assert found["squire_ping_round_trip_seconds_sum"] == pytest.approx(0.2)
        assert found["squire_ping_round_trip_seconds_count"] == 1
        codes = {
            f"squire_connections_closed_total{{code={code}}}": 1 for code in (1000, 1006, 4001)
        }
        assert codes.items() <= found.items()
        nursery.cancel_scope.cancel()
