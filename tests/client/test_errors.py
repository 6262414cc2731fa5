"""Errors that a server sends, with and without an id: no caller waits for ever."""

from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from squire_gatherings._values.errors import (
    BadRequest,
    Forbidden,
    GatheringsError,
    OpRejected,
    TooBig,
)
from squire_gatherings.client import Gathering
from tests.client.scripted import Peer, a_client, error, fetched, joined, synced
from tests.client.world import ROOM
from tests.support import examples

PASSING = ["store_unavailable", "rate_limited", "crashed", "hall_closed", "dispersed", "moved"]
FINAL = ["bad_message", "too_big", "internal", "forbidden", "unknown_type", "new_in_version_3"]
FOR_THE_WIRE = {"crashed", "hall_closed", "dispersed", "moved", "join_first", "already_joined"}


@pytest.mark.parametrize("has_id", [True, False])
@pytest.mark.parametrize("code", PASSING)
async def test_a_fetch_that_was_not_taken_is_repeated(
    code: str, has_id: bool, autojump_clock: MockClock
) -> None:
    fetches = 0

    async def serve(peer: Peer) -> None:
        nonlocal fetches
        join = await peer.hear("join")
        await peer.say(joined(seq=1, snapshot=1) if "since" not in join else joined(seq=1))
        while True:
            fetch = await peer.hear("fetch")
            fetches += 1
            if fetches < 4:
                await peer.say(error(code, fetch if has_id else None))
            else:
                await peer.say(fetched(fetch, 1, 1))

    async with a_client(*[serve] * 4) as client, client.join(ROOM, since=0) as gathering:
        with trio.fail_after(60):
            assert (await anext(gathering)).seq == 1
    assert fetches == 4


@pytest.mark.parametrize("has_id", [True, False])
@pytest.mark.parametrize("code", FINAL)
async def test_a_fetch_that_is_refused_fails_and_may_be_tried_again(
    code: str, has_id: bool, autojump_clock: MockClock
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined(seq=1, snapshot=1))
        fetch = await peer.hear("fetch")
        await peer.say(error(code, fetch if has_id else None))
        await peer.say(fetched(await peer.hear("fetch"), 1, 1))
        await peer.wait()

    async with a_client(serve) as client, client.join(ROOM, since=0) as gathering:
        with trio.fail_after(60), pytest.raises(GatheringsError, match=f"that's {code}"):
            await anext(gathering)
        assert (await anext(gathering)).seq == 1


@pytest.mark.parametrize("has_id", [True, False])
@pytest.mark.parametrize("code", PASSING + FINAL + ["rejected", "bad_base", "join_first"])
async def test_a_sync_is_answered_whatever_the_code(
    code: str, has_id: bool, autojump_clock: MockClock
) -> None:
    syncs = 0

    async def serve(peer: Peer) -> None:
        nonlocal syncs
        await peer.hear("join")
        await peer.say(joined())
        while True:
            sync = await peer.hear("sync")
            syncs += 1
            if syncs < 3:
                await peer.say(error(code, sync if has_id else None))
            else:
                await peer.say(synced(sync, 1))

    async with a_client(*[serve] * 4) as client, client.join(ROOM) as gathering:
        with trio.fail_after(60):
            if code in PASSING or (code in FOR_THE_WIRE and not has_id):
                assert await gathering.submit({"n": 1}) == 1
            else:
                with pytest.raises(GatheringsError, match=f"that's {code}"):
                    await gathering.submit({"n": 1})


@pytest.mark.parametrize("code", ["bad_message", "internal", "unknown_type", "rejected", "odd"])
async def test_the_client_finds_out_which_request_an_error_meant(
    code: str, autojump_clock: MockClock
) -> None:
    """An error without an id may concern many requests: only the culprits fail."""
    refused: list[Any] = []
    seqs: list[int] = []
    log: dict[str, int] = {}

    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined())
        while True:
            sync = await peer.hear("sync")
            if sync["ops"][0]["n"] % 4 == 3:
                await peer.say(error(code))
            else:
                await peer.say(synced(sync, log.setdefault(sync["id"], len(log) + 1)))

    async def submit(gathering: Gathering, n: int) -> None:
        try:
            seqs.append(await gathering.submit({"n": n}))
        except GatheringsError:
            refused.append(n)

    async with (
        a_client(serve) as client,
        client.join(ROOM, behaviour=None) as gathering,
    ):
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for n in range(12):
                    nursery.start_soon(submit, gathering, n)
    assert sorted(refused) == [3, 7, 11]
    assert sorted(seqs) == list(range(1, 10))


async def test_an_error_with_an_id_is_for_that_request(autojump_clock: MockClock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined())
        first, second = await peer.hear("sync"), await peer.hear("sync")
        await peer.say(error("rejected", second), error("forbidden", first))
        await peer.say(error("rejected", second), error("too_big", {"id": "somebody else's"}))
        await peer.wait()

    async with a_client(serve) as client, client.join(ROOM) as gathering:
        told: dict[str, type] = {}

        async def submit(sync_id: str) -> None:
            try:
                await gathering.submit({"n": 1}, sync_id=sync_id)
            except GatheringsError as refusal:
                told[sync_id] = type(refusal)

        async with trio.open_nursery() as nursery:
            for sync_id in ("one", "two"):
                nursery.start_soon(submit, sync_id)
                await trio.testing.wait_all_tasks_blocked()
        assert told == {"one": Forbidden, "two": OpRejected}


async def test_a_message_too_big_is_known_by_the_close_code(autojump_clock: MockClock) -> None:
    """A proxy closes with 1009 and no error: the largest request isn't repeated for ever."""

    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined())
        while True:
            sync = await peer.hear("sync")
            if len(sync["ops"][0]["pad"]) > 100:
                await peer.close(1009)
                return
            await peer.say(synced(sync, 1))

    async with a_client(*[serve] * 5) as client, client.join(ROOM) as gathering:

        async def fail() -> None:
            with pytest.raises(TooBig):
                await gathering.submit({"pad": 200 * "x"})

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            nursery.start_soon(gathering.submit, {"pad": ""})


async def test_more_ops_than_the_server_takes_are_refused_at_once(
    autojump_clock: MockClock,
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined(max_ops=3))
        await peer.say(synced(await peer.hear("sync"), 1, 2, 3))
        await peer.wait()

    async with a_client(serve) as client, client.join(ROOM) as gathering:
        with pytest.raises(TooBig, match="at most 3 ops"):
            await gathering.submit_all([{}] * 4)
        assert gathering.unanswered == 0
        assert await gathering.submit_all([{}] * 3) == (1, 2, 3)


CODES = [*PASSING, *FINAL, "rejected", "join_first", "bad_message"]


@settings(max_examples=examples(200), deadline=None)
@given(
    answers=st.lists(
        st.one_of(st.none(), st.tuples(st.sampled_from(CODES), st.booleans())), max_size=25
    ),
    at_once=st.integers(1, 6),
)
def test_every_submit_is_answered_whatever_the_server_refuses(
    answers: list[Any], at_once: int
) -> None:
    """The server follows the script first, and then accepts everything."""

    async def main() -> None:
        left = list(answers)
        log: list[str] = []

        async def serve(peer: Peer) -> None:
            join = await peer.hear("join")
            since = join.get("since", 0)
            # The join brings a state, so that there is something to fetch.
            if since == 0:
                await peer.say(joined(seq=3, snapshot=3))
            else:
                ops = [{"n": 0}] * (3 + len(log) - since)
                await peer.say(joined(seq=3 + len(log), ops=ops, by=[None] * len(ops)))
            while True:
                request = await peer.hear()
                if request["type"] not in ("sync", "fetch"):
                    continue
                refusal = left.pop(0) if left else None
                if refusal is not None:
                    code, has_id = refusal
                    await peer.say(error(code, request if has_id else None))
                elif request["type"] == "fetch":
                    await peer.say(fetched(request, 3, *range(request["since"] + 1, 4)))
                else:
                    if request["id"] not in log:
                        log.append(request["id"])
                    await peer.say(synced(request, 4 + log.index(request["id"])))

        async with (
            a_client(*[serve] * 60, max_pause=1.0) as client,
            client.join(ROOM, since=0) as gathering,
        ):

            async def submit() -> None:
                try:
                    await gathering.submit({"n": 1})
                except GatheringsError:
                    return

            async def read() -> None:
                seqs: list[int] = []
                while len(seqs) < 3:
                    try:
                        seqs.append((await anext(gathering)).seq)
                    except GatheringsError:
                        continue
                assert seqs == [1, 2, 3]

            with trio.fail_after(3600):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(read)
                    for _ in range(at_once):
                        nursery.start_soon(submit)

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def test_an_undecodable_sync_fails_though_the_error_has_no_id(
    autojump_clock: MockClock,
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined())
        while True:
            await peer.hear("sync")
            await peer.say(error("bad_message"))

    async with a_client(serve) as client, client.join(ROOM) as gathering:
        with pytest.raises(BadRequest, match="that's bad_message"):
            await gathering.submit({"n": 1})
