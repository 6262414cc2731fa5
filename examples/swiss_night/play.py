"""A night played by a script: judges and players of flesh are slow, these take seconds.

Each player is a client with a connection and a copy of the tournament of its own. Some of them come
late, go early, forget to report, report what isn't true, or lose their connection.
"""

import math
import random
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx
import trio
from attrs import Factory, define, field, frozen

from examples.swiss_night.behaviour import SwissNight
from examples.swiss_night.door import Door
from examples.swiss_night.pairing import next_pairings
from examples.swiss_night.serving import open_gatherings
from examples.swiss_night.standings import Standing, standings
from examples.swiss_night.tournament import Match, Tournament
from squire_gatherings import OpRejected
from squire_gatherings.client import Gathering, open_client

SignIn = Callable[[str, str], Awaitable[str]]
"""Gives the token of a name and a role."""

OUTCOMES = [(2, 0, 0), (2, 1, 0), (1, 1, 1)]
PATIENCE = 60
"""A machine on which 200 clients come at once is busy for a while."""

QUIET = 0.2
"""So many seconds without news, and a judge sees to the tables that have no result."""


@frozen
class Plan:
    """What kind of night it is."""

    players: int = 200
    rounds: int = 8
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
    forgotten: int = 0
    cuts: int = 0
    undone: int = 0
    pairing: float = 0.0


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

    host: str
    port: int
    stream: trio.SocketStream | None = None

    async def open(self) -> trio.SocketStream:
        self.stream = await trio.open_tcp_stream(self.host, self.port)
        return self.stream

    def cut(self) -> None:
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
    _random: random.Random = field(init=False)
    _strength: dict[str, float] = Factory(dict)
    _finished: dict[str, Any] = Factory(dict)

    def __attrs_post_init__(self) -> None:
        self._random = random.Random(self.plan.seed)

    async def play(self) -> Played:
        """Play it; return how it ended. Raises `AssertionError` where replicas differ."""
        began = time.monotonic()
        names = [f"player {number:03}" for number in range(1, self.plan.players + 1)]
        late = max(1, round(self.plan.players * self.plan.late))
        for name in names:
            self._strength[name] = self._random.gauss()
        replica = SwissNight()
        token = await self.sign_in("olga", "judge")
        async with (
            open_client(self.url, token=token, connect_timeout=PATIENCE) as client,
            client.join(self.gathering, behaviour=lambda: replica) as judge,
            trio.open_nursery() as nursery,
        ):
            title = f"{self.plan.players} players, {self.plan.rounds} rounds"
            await judge.submit(
                {"do": "plan", "title": title, "rounds": self.plan.rounds, "minutes": 50}
            )
            await self._enter(nursery, names[:-late])
            for number in range(1, self.plan.rounds + 1):
                if number == 2:
                    await self._enter(nursery, names[-late:])
                await self._round(judge, replica)
            seq = await judge.submit({"do": "finish"})
            self._finished["judge"] = judge.snapshot()
        night = replica.night
        for name, snapshot in self._finished.items():
            assert snapshot == self._finished["judge"], f"{name} sees another tournament"
        return Played(
            night=night,
            standings=standings(night),
            tally=self.tally,
            seq=seq,
            replicas=len(self._finished),
            seconds=time.monotonic() - began,
        )

    async def _enter(self, nursery: trio.Nursery, names: list[str]) -> None:
        """Let players come, all at once, and wait until they are in."""
        async with trio.open_nursery() as entering:
            for name in names:
                entering.start_soon(nursery.start, self._player, name)

    # A judge.

    async def _round(self, judge: Gathering, replica: SwissNight) -> None:
        """Pair, start and decide one round."""
        began = time.monotonic()
        pairings = await trio.to_thread.run_sync(next_pairings, replica.night)
        self.tally.pairing += time.monotonic() - began
        number = len(replica.night.rounds) + 1
        await judge.submit({"do": "start_round", "round": number, "pairings": pairings})
        while replica.night.open_matches:
            with trio.move_on_after(QUIET) as scope:
                await anext(judge)
            if scope.cancelled_caught:
                for _, match in replica.night.open_matches:
                    await self._decide(judge, match, number)

    async def _decide(self, judge: Gathering, match: Match, number: int) -> None:
        truth = self._truth(match.first, match.second or "", number)
        ruling = {"do": "rule", "round": number, "table": match.table, "games": list(truth)}
        if match.disputed:
            self.tally.disputes += 1
            if self.tally.disputes == 1:  # the judge believes the wrong one, and takes it back
                wrong = [report.games for report in match.reports.values() if report.games != truth]
                seq = await judge.submit(ruling | {"games": list(wrong[0])})
                await judge.submit({"do": "undo", "seq": seq})
                self.tally.undone += 1
        else:
            self.tally.forgotten += 1
        await judge.submit(ruling)

    # The players.

    async def _player(self, name: str, task_status: trio.TaskStatus[None]) -> None:
        """Be a player, from its entry until the end of the night."""
        chance = random.Random(f"{self.plan.seed} {name}")
        host, _, port = self.url.partition("//")[2].partition(":")
        wire = _Wire(host, int(port))
        token = await self.sign_in(name, "player")
        async with (
            open_client(
                self.url, token=token, open_stream=wire.open, connect_timeout=PATIENCE
            ) as client,
            client.join(self.gathering, behaviour=SwissNight) as gathering,
        ):
            await gathering.submit({"do": "enter"})
            task_status.started()
            is_in = True
            async for change in gathering:
                match change.op:
                    case {"do": "start_round", "round": number, "pairings": pairings} if is_in:
                        await self._match(name, number, pairings, gathering, chance)
                        if chance.random() < self.plan.cuts:
                            self.tally.cuts += 1
                            wire.cut()
                        if number < self.plan.rounds and chance.random() < self.plan.drops:
                            await gathering.submit({"do": "drop"})
                            is_in = False
                    case {"do": "finish"}:
                        break
            self._finished[name] = gathering.snapshot()

    async def _match(
        self,
        name: str,
        number: int,
        pairings: list[list[str]],
        gathering: Gathering,
        chance: random.Random,
    ) -> None:
        mine = next((pairing for pairing in pairings if name in pairing), [])
        if len(mine) < 2 or chance.random() < self.plan.forgets:
            return
        games = self._truth(mine[0], mine[1], number)
        if chance.random() < self.plan.lies:
            first, second, drawn = games
            games = (second, first, drawn) if first != second else (2, 0, 0)
        op = {"do": "report", "round": number, "games": list(games)}
        with suppress(OpRejected):  # a judge was faster
            await gathering.submit(op)

    def _truth(self, first: str, second: str, number: int) -> tuple[int, int, int]:
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
        f"{dropped} went home, {tally.forgotten} matches nobody or one reported,"
        f" {tally.disputes} disputes, {tally.undone} ruling taken back,"
        f" {tally.cuts} connections cut",
        f"all {played.replicas} replicas agree",
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
