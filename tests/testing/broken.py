"""Behaviours that break a rule, each another one, and what is to be said of it."""

import datetime
import random
import time
from collections.abc import Sequence
from typing import Any, ClassVar

from hypothesis import strategies as st

from squire_gatherings import EndRules, Op, OpRejected, Stamp, Submission

OPS = st.fixed_dictionaries({"games": st.integers(0, 3), "who": st.sampled_from("abc")})


class Results:
    """A behaviour without a fault: how many games each player has won."""

    serves_snapshots = True

    def __init__(self) -> None:
        self.games: dict[Any, Any] = {}

    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        if any(op.value["games"] > 2 for op in ops):
            raise OpRejected("a player wins 0, 1 or 2 games")
        return ops

    def fold(self, op: Op, stamp: Stamp) -> None:
        self.games[op.value["who"]] = op.value["games"]

    def snapshot(self) -> Any:
        return self.games

    def restore(self, snapshot: Any) -> None:
        self.games = snapshot


class DrawsLots(Results):
    def fold(self, op: Op, stamp: Stamp) -> None:
        self.games[op.value["who"]] = random.randrange(1000)


class LooksAtTheClock(Results):
    def fold(self, op: Op, stamp: Stamp) -> None:
        self.games[op.value["who"]] = int(time.time())


class LooksAtTheDate(Results):
    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        if datetime.datetime.now().year < 1999:
            raise OpRejected("too early")
        return ops


class CountsCalls(Results):
    """Its fold depends on something besides the state: a number that all objects share."""

    calls = 0

    def fold(self, op: Op, stamp: Stamp) -> None:
        CountsCalls.calls += 1
        self.games[op.value["who"]] = CountsCalls.calls


class ChangesInJudge(Results):
    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        for op in ops:
            self.games.setdefault(op.value["who"], 0)
        return super().judge(ops, submission)


class ForgetsForFold(Results):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def fold(self, op: Op, stamp: Stamp) -> None:
        self.count += 1
        self.games[op.value["who"]] = self.count


class ForgetsForJudge(Results):
    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        if self.closed:
            raise OpRejected("it is closed")
        return super().judge(ops, submission)

    def fold(self, op: Op, stamp: Stamp) -> None:
        super().fold(op, stamp)
        self.closed = op.value["who"] == "c"


class ForgetsForItsEnd(Results):
    def __init__(self) -> None:
        super().__init__()
        self.folded = 0

    def fold(self, op: Op, stamp: Stamp) -> None:
        super().fold(op, stamp)
        self.folded += 1

    def end_rules(self, rules: EndRules) -> EndRules | None:
        return None if self.folded < 2 else EndRules(idle_timeout=10.0)


class HasASet(Results):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def fold(self, op: Op, stamp: Stamp) -> None:
        self.seen.add(op.value["who"])

    def snapshot(self) -> Any:
        return {"seen": self.seen}

    def restore(self, snapshot: Any) -> None:
        self.seen = set(snapshot["seen"])


class HasNumbersAsKeys(Results):
    def fold(self, op: Op, stamp: Stamp) -> None:
        self.games[op.value["games"]] = op.value["who"]


class RestoresHalf(Results):
    def restore(self, snapshot: Any) -> None:
        self.games = {who: games for who, games in snapshot.items() if games}


class SharesItsState(Results):
    games: ClassVar[dict[Any, Any]] = {}  # type: ignore[misc]

    def __init__(self) -> None:
        pass


class KeepsAndChangesOps(Results):
    def fold(self, op: Op, stamp: Stamp) -> None:
        super().fold(op, stamp)
        op.json = b"{}"


class LetsPassWhatFoldCant(Results):
    def fold(self, op: Op, stamp: Stamp) -> None:
        if op.value["games"] == 2:
            raise KeyError("two")
        super().fold(op, stamp)


class RaisesInJudge(Results):
    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        return [op for op in ops if 1 / op.value["games"]]


class ReturnsOtherThanOps(Results):
    def judge(self, ops: Sequence[Op], submission: Submission) -> Any:
        return [op.value for op in ops]


class ReturnsFewer(Results):
    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        return ops[:1]


class ReturnsNoJson(Results):
    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        return [Op(b"{'games': 1}") for _ in ops]


BROKEN: dict[type[Results], str] = {
    DrawsLots: r"fold asks for a random number \(of the module random, broken.py:\d+\)",
    LooksAtTheClock: r"fold asks for the time of day \(time.time, broken.py:\d+\)",
    LooksAtTheDate: r"judge asks for the time of day \(datetime.now, broken.py:\d+\)",
    CountsCalls: r"fold isn't deterministic: two equal objects differ over op 1, ",
    ChangesInJudge: r"judge changes the state \(only one of the two has .\w: 0\)",
    ForgetsForFold: "the snapshot doesn't have the whole state: an object that was restored",
    ForgetsForJudge: "the snapshot doesn't have the whole state: of .* judge says no .*closed",
    ForgetsForItsEnd: "the snapshot doesn't have the whole state: end_rules says",
    HasASet: "snapshot has a set at .seen: JSON can't say that",
    HasNumbersAsKeys: "snapshot has the key \\d, which is no text",
    RestoresHalf: "restore doesn't bring back what snapshot said: only one of the two has",
    SharesItsState: "a new object has a state already",
    KeepsAndChangesOps: "fold has changed the op that it was given",
    LetsPassWhatFoldCant: r"fold raised KeyError\('two'\) over op .*which judge let pass",
    RaisesInJudge: "judge raised ZeroDivisionError",
    ReturnsOtherThanOps: "judge has returned .*, which isn't a sequence of Op",
    ReturnsFewer: "judge has returned 1 ops for 2",
    ReturnsNoJson: "judge has returned an op that can't be logged",
}
"""Each with the beginning of what is said."""
