"""A client renews its rights by itself before they end, and is told what it may do."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings import Identity
from squire_gatherings._values.errors import Left, OpRejected, Unauthorized
from squire_gatherings._values.identity import Role
from squire_gatherings.client import Client, Gathering, TokenReason
from tests.client.scripted import Peer, a_client, error, forward, joined, synced
from tests.client.test_roles import Refereed
from tests.client.world import ROOM, World, a_world, until
from tests.ways_in.streams import StreamWay, over_every_way

DAY_ONE = 1_700_000_000.0


def wall() -> float:
    return DAY_ONE + trio.current_time()


class Tokens:
    """Gives tokens that are good for a while, and notes each request."""

    def __init__(self, lasts: float = 100.0) -> None:
        self.lasts = lasts
        self.asked: list[tuple[float, TokenReason]] = []
        self.refused = False
        self.broken = 0
        self.takes = 0.0

    async def __call__(self, why: TokenReason) -> str:
        self.asked.append((trio.current_time(), why))
        await trio.sleep(self.takes)
        if self.broken:
            self.broken -= 1
            raise OSError("no tokens now")
        return f"alice:member:{trio.current_time() + self.lasts}"

    @property
    def reasons(self) -> list[str]:
        return [str(why) for _, why in self.asked]

    async def authenticate(self, token: str | None, gathering_id: str) -> Identity:
        if token is None or self.refused:
            raise Unauthorized("not this one")
        user, role, until = token.split(":")
        return Identity(user, role, DAY_ONE + float(until))


@asynccontextmanager
async def a_renewing_world(
    way: StreamWay, tokens: Tokens, token: Any = None, **more: Any
) -> AsyncIterator[tuple[World, Client]]:
    settings = {"token": tokens if token is None else token, "max_pause": 1.0}
    options = {"authenticate": tokens.authenticate, "wall_clock": wall} | more
    async with a_world(way, client_settings=settings, **options) as world_and_client:
        yield world_and_client


@over_every_way
async def test_a_client_renews_its_rights_on_the_same_connection(
    way: StreamWay,
    autojump_clock: MockClock,
) -> None:
    tokens = Tokens()
    async with a_renewing_world(way, tokens) as (world, client), client.join(ROOM) as gathering:
        assert gathering.rights_expire_in == pytest.approx(100)
        await trio.sleep(1000)
        assert await gathering.submit({"n": 1}) == 1
        assert world.opened == 1
        assert set(tokens.reasons[1:]) == {"renew"}
        assert 10 <= len(tokens.asked) <= 13
        assert 9 < gathering.rights_expire_in <= 100


@over_every_way
async def test_the_gathering_ends_of_idleness_though_its_client_renews(
    way: StreamWay,
    autojump_clock: MockClock,
) -> None:
    tokens = Tokens(10.0)
    async with (
        a_renewing_world(way, tokens, idle_timeout=100.0) as (_, client),
        client.join(ROOM) as gathering,
    ):
        start = trio.current_time()
        assert [change async for change in gathering] == []
        assert trio.current_time() == pytest.approx(start + 100)
        assert gathering.is_asleep


@over_every_way
async def test_submits_wait_for_rights_that_have_ended(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    tokens = Tokens(20.0)
    async with a_renewing_world(way, tokens) as (world, client), client.join(ROOM) as gathering:
        tokens.takes = 6.0
        await trio.sleep_until(21)
        assert world.hall is not None
        seqs: list[int] = []

        async def submit(number: int) -> None:
            seqs.append(await gathering.submit({"n": number}))

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(submit, number)
                await wait_all_tasks_blocked()
            await world.hall.submit(ROOM, [{"n": 100}])
            await trio.sleep(0.5)
            assert seqs == []
        assert trio.current_time() == pytest.approx(24, abs=0.2)
        fetched = await world.hall.fetch(ROOM, since=1)
        assert isinstance(fetched.ops, tuple)
        assert [op.value["n"] for op in fetched.ops] == [0, 1, 2, 3, 4]
        assert world.opened == 1
        assert (await anext(gathering)).op == {"n": 100}


@over_every_way
async def test_a_client_whose_token_is_late_joins_again(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    tokens = Tokens(20.0)
    async with a_renewing_world(way, tokens) as (world, client), client.join(ROOM) as gathering:
        tokens.takes = 25.0
        await trio.sleep_until(25)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gathering.submit, {"n": 1})
            tokens.takes = 0.0
        assert world.opened == 2
        assert tokens.reasons == ["join", "renew", "join"]


@over_every_way
async def test_a_token_that_isnt_there_is_asked_for_again(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    tokens = Tokens()
    async with a_renewing_world(way, tokens) as (world, client), client.join(ROOM) as gathering:
        tokens.broken = 3
        await trio.sleep(150)
        assert world.opened == 1
        assert tokens.reasons[:5] == ["join", "renew", "renew", "renew", "renew"]
        assert await gathering.submit({"n": 1}) == 1


@over_every_way
async def test_a_program_may_give_up(way: StreamWay, autojump_clock: MockClock) -> None:
    tokens = Tokens()

    async def ask(why: TokenReason) -> str:
        if why is not TokenReason.JOIN:
            raise Unauthorized("logged out")
        return await tokens(why)

    async with a_renewing_world(way, tokens, ask) as (_, client), client.join(ROOM) as gathering:
        with pytest.raises(Unauthorized, match="logged out"):
            await anext(gathering)
        assert trio.current_time() == pytest.approx(90)


@over_every_way
@pytest.mark.parametrize("kind", ["text", "function"])
async def test_without_another_token_the_stay_ends_with_the_rights(
    kind: str, way: StreamWay, autojump_clock: MockClock
) -> None:
    tokens = Tokens()
    token = "alice:member:100" if kind == "text" else lambda: "alice:member:100"
    async with a_renewing_world(way, tokens, token) as (_, client), client.join(ROOM) as gathering:
        with pytest.raises(Unauthorized):
            await anext(gathering)
        assert trio.current_time() == pytest.approx(110, abs=1.5)


@over_every_way
async def test_a_refused_token_is_followed_by_one_more(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    tokens = Tokens()
    async with a_renewing_world(way, tokens) as (world, client), client.join(ROOM) as gathering:
        tokens.refused = True
        await trio.sleep(95)
        assert tokens.reasons == ["join", "renew"]
        assert await gathering.submit({"n": 1}) == 1
        tokens.refused = False
        await trio.sleep(6)
        assert tokens.reasons == ["join", "renew", "expired"]
        assert await gathering.submit({"n": 2}) == 2
        assert world.opened == 1


@over_every_way
async def test_a_user_that_is_put_out_stays_out(way: StreamWay, autojump_clock: MockClock) -> None:
    tokens = Tokens()
    async with a_renewing_world(way, tokens) as (world, client), client.join(ROOM) as gathering:
        assert world.hall is not None
        assert world.hall.kick("alice") == 1
        with pytest.raises(Unauthorized, match="put out"):
            await anext(gathering)
        async with client.join(ROOM) as again:
            assert await again.submit({"n": 1}) == 1


async def role_of(gathering: Gathering, role: str) -> None:
    await until(lambda: gathering.role == role, lambda: gathering._session.exchange.news)


@over_every_way
async def test_a_change_of_role_is_told_and_judged_by_at_once(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    tokens = Tokens(10_000.0)
    async with (
        a_renewing_world(way, tokens, behaviour=Refereed) as (world, client),
        client.join(ROOM, behaviour=Refereed, optimistic=True) as gathering,
    ):
        hall = world.hall
        assert hall is not None
        await gathering.submit({"add": 5})
        with pytest.raises(OpRejected):
            await gathering.submit({"add": -1})
        seen: list[str] = []

        async def watch() -> None:
            role = gathering.role
            while role != Role.OBSERVER:
                role = await gathering.wait_role(other_than=role)
                seen.append(role)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await wait_all_tasks_blocked()
            hall.change_role("alice", "judge")
            await role_of(gathering, "judge")
            assert await gathering.submit({"add": -1}) == 2
            assert gathering.snapshot() == {"total": 4}
            hall.change_role("alice", "player")
            await role_of(gathering, "player")
            with pytest.raises(OpRejected):
                await gathering.submit({"add": -1})
            hall.change_role("alice", "observer")
            await role_of(gathering, "observer")
        assert seen == ["judge", "player", "observer"]
        assert await gathering.wait_role(other_than="judge") == "observer"


@over_every_way
async def test_waiting_for_a_role_ends_with_the_stay(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    tokens = Tokens()
    ended = trio.Event()

    async def wait(gathering: Gathering) -> None:
        with pytest.raises(Left):
            await gathering.wait_role(other_than="member")
        ended.set()

    async with a_renewing_world(way, tokens) as (_, client), trio.open_nursery() as nursery:
        async with client.join(ROOM) as gathering:
            nursery.start_soon(wait, gathering)
            await wait_all_tasks_blocked()
            assert not ended.is_set()
        await ended.wait()


# Servers that follow a script.


async def test_a_role_shows_in_what_is_pending(autojump_clock: MockClock) -> None:
    shown: list[Any] = []

    async def server(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined(user="alice", role="player", max_ops=10))
        sync = await peer.hear("sync")
        shown.append(look())
        await peer.say({"type": "refreshed", "role": "judge"})
        await wait_all_tasks_blocked()
        shown.append(look())
        await peer.say(synced(sync, 1))
        await peer.wait()

    async with (
        a_client(server) as client,
        client.join(ROOM, behaviour=Refereed, optimistic=True) as gathering,
    ):
        look: Callable[[], Any] = gathering.snapshot
        await gathering.submit({"add": -1})
    assert shown == [{"total": 0}, {"total": -1}]


async def test_refused_syncs_go_out_again_in_order_after_the_renewal(
    autojump_clock: MockClock,
) -> None:
    heard: list[Any] = []

    async def server(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined(user="alice", rights_expire_in=5.0, max_ops=10))
        first = [await peer.hear("sync") for _ in range(3)]
        await peer.say(*(error("unauthorized", sync) for sync in first))
        refresh = await peer.hear("refresh")
        heard.append(refresh["token"])
        # The client waits for its new rights: nothing goes out yet.
        await trio.sleep(3)
        assert peer.heard == []
        await peer.say(
            {
                "type": "refreshed",
                "id": refresh["id"],
                "role": "member",
                "rights_expire_in": 50.0,
            }
        )
        again = [await peer.hear("sync") for _ in range(3)]
        assert again == first
        for seq, sync in enumerate(again, start=1):
            await peer.say(synced(sync, seq))
        await peer.wait()

    async with (
        a_client(server, token=lambda why: str(why)) as client,
        client.join(ROOM) as gathering,
        trio.open_nursery() as nursery,
    ):
        for number in range(3):
            nursery.start_soon(gathering.submit, {"n": number})
            await trio.lowlevel.checkpoint()
    assert heard == ["renew"]


@pytest.mark.parametrize(
    "nonsense",
    [
        {"type": "refreshed", "role": ""},
        {"type": "refreshed", "role": "x" * 65},
        {"type": "refreshed", "role": None},
        {"type": "refreshed"},
        {"type": "refreshed", "role": "a", "rights_expire_in": -1},
        {"type": "refreshed", "role": "a", "rights_expire_in": "soon"},
        {"type": "refreshed", "role": "a", "rights_expire_in": None},
        {"type": "renew"},
        {"type": "renew", "rights_expire_in": -1},
        joined(role=""),
        joined(rights_expire_in=-0.1),
    ],
)
async def test_nonsense_about_rights_is_a_lost_connection(
    nonsense: dict[str, Any], autojump_clock: MockClock
) -> None:
    async def bad(peer: Peer) -> None:
        await peer.hear("join")
        if nonsense["type"] != "joined":
            await peer.say(joined())
        await peer.say(nonsense)
        await peer.wait()

    async def good(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined(), forward(1))
        await peer.wait()

    async with (
        a_client(bad, good, token=lambda: "t", join_patience=10.0) as client,
        client.join(ROOM) as gathering,
    ):
        assert (await anext(gathering)).seq == 1


async def test_no_server_has_the_program_asked_all_the_time(autojump_clock: MockClock) -> None:
    asked: list[float] = []

    async def server(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined(user="alice", rights_expire_in=0.0))
        while True:
            refresh = await peer.hear("refresh")
            answer = {"type": "refreshed", "id": refresh["id"], "role": "member"}
            await peer.say({"type": "renew", "rights_expire_in": 0.0})
            await peer.say(answer | {"rights_expire_in": 0.0})
            # Answers that no request asked for mean nothing.
            await peer.say(answer, error("unauthorized", {"id": "nobody's"}))
            await peer.say({"type": "refreshed", "role": "member", "rights_expire_in": 0.0})

    def token() -> str:
        asked.append(trio.current_time())
        return "t"

    async with a_client(server, token=token) as client, client.join(ROOM):
        await trio.sleep(20)
    assert 15 <= len(asked) <= 22
