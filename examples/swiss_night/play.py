"""A night played by a script.

Some players keep the page open all night: each has a connection and a copy of the tournament. The
others look at it when they have something to report. Some come late, go early, forget to report,
report what isn't true, or lose their connection while they report. The same seed always gives the
same night, whatever is faster.
"""

import math
import random
import socket
import time
from collections.abc import Awaitable, Callable

import httpx
import trio
from attrs import Factory, define, field, frozen

from examples.swiss_night.behaviour import SwissNight
from examples.swiss_night.door import Door
from examples.swiss_night.pairing import next_pairings
from examples.swiss_night.serving import open_gatherings
from examples.swiss_night.standings import Standing, standings
from examples.swiss_night.tournament import Games, Match, Tournament
from squire_gatherings.client import Gathering, open_client

SignIn = Callable[[str, str], Awaitable[str]]
"""Gives the token of a name and a role."""

OUTCOMES = [(2, 0, 0), (2, 1, 0), (1, 1, 1)]
AT_ONCE = 16
"""So many look at their phones at the same time, of those who don't all the time."""

PATIENCE = 60
"""How many seconds a client waits to be let in: a machine may be busy."""


@frozen
class Plan:
    """What kind of night it is. Shares are chances per player and round."""

    players: int = 200
    rounds: int = 8
    watching: int = 20
    seed: int = 1
    late: float = 0.02
    drops: float = 0.02
    forgets: float = 0.02
    lies: float = 0.02
    cuts: float = 0.05


@define
class Tally:
    """What happened."""

    disputes: int = 0
    unreported: int = 0
    cuts: int = 0
    undone: int = 0
    pairing: float = 0.0


@frozen
class Doing:
    """What a player does in a round."""

    games: Games | None
    cut: bool
    drops: bool


@frozen
class Played:
    """How a night ended."""

    night: Tournament
    standings: list[Standing]
    tally: Tally
    seq: int
    replicas: int
    seconds: float


@define
class _Wire:
    """A player's connection, which can be cut."""

    url: str
    stream: trio.SocketStream | None = None

    async def open(self) -> trio.SocketStream:
        host, _, port = self.url.partition("//")[2].partition(":")
        self.stream = await trio.open_tcp_stream(host, int(port))
        return self.stream

    async def cut(self) -> None:
        """Cut it, as soon as something has been sent."""
        await trio.lowlevel.checkpoint()
        if self.stream is not None and self.stream.socket.fileno() >= 0:
            self.stream.socket.shutdown(socket.SHUT_RDWR)


@define
class Script:
    """One night, with everybody in it."""

    plan: Plan
    url: str
    gathering: str
    sign_in: SignIn
    tally: Tally = Factory(Tally)
    _strength: dict[str, float] = Factory(dict)
    _watchers: set[str] = Factory(set)
    _copies: dict[str, object] = Factory(dict)
    _say: trio.MemorySendChannel[int] = field(init=False)
    _seen: trio.MemoryReceiveChannel[int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        # A judge sees who is done with a round: it looks around the room.
        self._say, self._seen = trio.open_memory_channel[int](math.inf)

    async def play(self) -> Played:
        """Play it; return how it ended. Raises `AssertionError` where copies differ."""
        began = time.monotonic()
        plan = self.plan
        chance = random.Random(plan.seed)
        names = [f"player {number:03}" for number in range(1, plan.players + 1)]
        self._strength = {name: chance.gauss() for name in names}
        late = max(1, round(plan.players * plan.late))
        in_time = names[:-late]
        self._watchers = set(chance.sample(in_time, min(plan.watching, len(in_time))))
        replica = SwissNight()
        token = await self.sign_in("olga", "judge")
        async with (
            open_client(self.url, token=token, connect_timeout=PATIENCE) as client,
            client.join(self.gathering, behaviour=lambda: replica) as judge,
            trio.open_nursery() as nursery,
        ):
            title = f"{plan.players} players, {plan.rounds} rounds"
            await judge.submit({"do": "plan", "title": title, "rounds": plan.rounds, "minutes": 50})
            await judge.submit_all([{"do": "enter", "player": name} for name in in_time])
            for name in sorted(self._watchers):
                await nursery.start(self._watch, name)
            for number in range(1, plan.rounds + 1):
                if number == 2:
                    for name in names[-late:]:
                        await self._visit(name, [{"do": "enter"}])
                await self._round(judge, replica)
            seq = await judge.submit({"do": "finish"})
            final = judge.snapshot()
        for name, copy in self._copies.items():
            assert copy == final, f"{name} sees another tournament"
        return Played(
            night=replica.night,
            standings=standings(replica.night),
            tally=self.tally,
            seq=seq,
            replicas=1 + len(self._copies),
            seconds=time.monotonic() - began,
        )

    # A judge.

    async def _round(self, judge: Gathering, replica: SwissNight) -> None:
        """Pair, start and decide one round."""
        began = time.monotonic()
        pairings = await trio.to_thread.run_sync(next_pairings, replica.night)
        self.tally.pairing += time.monotonic() - began
        number = len(replica.night.rounds) + 1
        present = replica.night.present
        last = await judge.submit({"do": "start_round", "round": number, "pairings": pairings})
        limit = trio.CapacityLimiter(AT_ONCE)
        async with trio.open_nursery() as nursery:
            for name in present:
                if name not in self._watchers:
                    nursery.start_soon(self._play_and_go, name, number, pairings, limit)
        seen = [await self._seen.receive() for _ in present]
        while last < max(seen):
            last = (await anext(judge)).seq
        for _, match in replica.night.open_matches:
            await self._decide(judge, match, number)

    async def _decide(self, judge: Gathering, match: Match, number: int) -> None:
        truth = self._truth(match.first, match.second or "", number)
        ruling = {"do": "rule", "round": number, "table": match.table}
        if match.disputed:
            self.tally.disputes += 1
            if self.tally.disputes == 1:  # the judge believes the wrong one, and takes it back
                wrong = [report.games for report in match.reports.values() if report.games != truth]
                seq = await judge.submit(ruling | {"games": list(wrong[0])})
                await judge.submit({"do": "undo", "seq": seq})
                self.tally.undone += 1
        else:
            self.tally.unreported += 1
        await judge.submit(ruling | {"games": list(truth)})

    # The players.

    async def _watch(self, name: str, task_status: trio.TaskStatus[None]) -> None:
        """Keep the page open until the end of the night."""
        wire = _Wire(self.url)
        token = await self.sign_in(name, "player")
        async with (
            open_client(
                self.url, token=token, open_stream=wire.open, connect_timeout=PATIENCE
            ) as client,
            client.join(self.gathering, behaviour=SwissNight) as gathering,
        ):
            task_status.started()
            async for change in gathering:
                match change.op:
                    case {"do": "start_round", "round": number, "pairings": pairings}:
                        if any(name in pairing for pairing in pairings):
                            doing = self._doing(name, number, pairings)
                            await self._do(gathering, wire, number, doing)
                    case {"do": "finish"}:
                        break
            self._copies[name] = gathering.snapshot()

    async def _play_and_go(
        self, name: str, number: int, pairings: list[list[str]], limit: trio.CapacityLimiter
    ) -> None:
        doing = self._doing(name, number, pairings)
        async with limit:
            if doing.games is None and not doing.drops:
                self._say.send_nowait(0)
                return
            wire = _Wire(self.url)
            token = await self.sign_in(name, "player")
            async with (
                open_client(
                    self.url, token=token, open_stream=wire.open, connect_timeout=PATIENCE
                ) as client,
                client.join(self.gathering, behaviour=None) as gathering,
            ):
                await self._do(gathering, wire, number, doing)

    async def _visit(self, name: str, ops: list[dict[str, object]]) -> None:
        token = await self.sign_in(name, "player")
        async with (
            open_client(self.url, token=token, connect_timeout=PATIENCE) as client,
            client.join(self.gathering, behaviour=None) as gathering,
        ):
            await gathering.submit_all(ops)

    async def _do(self, gathering: Gathering, wire: _Wire, number: int, doing: Doing) -> None:
        """Report and drop; tell the last op's seq. A cut connection changes nothing of that."""
        seq = 0
        if doing.games is not None:
            op = {"do": "report", "round": number, "games": list(doing.games)}
            async with trio.open_nursery() as nursery:
                if doing.cut:
                    self.tally.cuts += 1
                    nursery.start_soon(wire.cut)
                seq = await gathering.submit(op)
        if doing.drops:
            seq = await gathering.submit({"do": "drop"})
        self._say.send_nowait(seq)

    def _doing(self, name: str, number: int, pairings: list[list[str]]) -> Doing:
        plan = self.plan
        chance = random.Random(f"{plan.seed} {name} {number}")
        mine = next(pairing for pairing in pairings if name in pairing)
        games = None
        if len(mine) == 2 and chance.random() >= plan.forgets:
            games = self._truth(mine[0], mine[1], number)
            if chance.random() < plan.lies:
                first, second, drawn = games
                games = (second, first, drawn) if first != second else (2, 0, 0)
        drops = number < plan.rounds and chance.random() < plan.drops
        return Doing(games, chance.random() < plan.cuts, drops)

    def _truth(self, first: str, second: str, number: int) -> Games:
        """Return how a match really went."""
        chance = random.Random(f"{self.plan.seed} {number} {first} {second}")
        won, lost, drawn = chance.choices(OUTCOMES, (5, 5, 1))[0]
        lead = self._strength[first] - self._strength[second]
        if chance.random() < 1 / (1 + math.exp(-lead)):
            return won, lost, drawn
        return lost, won, drawn


def report(played: Played, shown: int = 16) -> str:
    """Return the final standings and what happened, for a terminal."""
    tally = played.tally
    lines = ["place  player       points  record   OMW%   GW%   OGW%"]
    lines += [
        f"{place.rank:5}  {place.name:11}  {place.points:6}  {'-'.join(map(str, place.record)):7}"
        f"  {place.opponents_matches:.3f}  {place.games:.3f}  {place.opponents_games:.3f}"
        for place in played.standings[:shown]
    ]
    if len(played.standings) > shown:
        lines.append(f"   …  and {len(played.standings) - shown} more")
    dropped = sum(place.dropped for place in played.standings)
    lines += [
        "",
        f"{len(played.standings)} players, {len(played.night.rounds)} rounds,"
        f" {played.seq} ops, {played.seconds:.1f} s ({tally.pairing:.1f} s of it pairing)",
        f"{dropped} went home, {tally.unreported} matches weren't reported by both,"
        f" {tally.disputes} disputes, {tally.undone} ruling taken back,"
        f" {tally.cuts} connections cut",
        f"all {played.replicas} copies of the tournament agree",
    ]
    return "\n".join(lines)


async def play_here(plan: Plan, door: Door, gathering: str) -> Played:
    """Play a night on a server of its own, whose log is in memory."""

    async def sign_in(name: str, role: str) -> str:
        await trio.lowlevel.checkpoint()
        return door.token(name, role, gathering)

    async with open_gatherings(door) as url:
        return await Script(plan, url, gathering, sign_in).play()


async def play_there(plan: Plan, site: str, gathering: str, code: str) -> Played:
    """Play a night on a site that runs, so that one can watch it there."""
    async with httpx.AsyncClient(base_url=site) as client:

        async def sign_in(name: str, role: str) -> str:
            asked = {"name": name, "role": role, "code": code, "gathering": gathering}
            answer = await client.post("/sign-in", json=asked)
            answer.raise_for_status()
            return str(answer.json()["token"])

        return await Script(plan, site.replace("http", "ws", 1), gathering, sign_in).play()
