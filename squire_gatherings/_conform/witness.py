"""The witness: what a client reports, and whether it fits what happened in the room."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trio
from attrs import define, field

from squire_gatherings._conform.judge import require
from squire_gatherings._conform.reports import missing_changes, wrong_changes, wrong_state
from squire_gatherings._conform.room import Room
from squire_gatherings._conform.rules import ANSWERS, EACH_ONCE, LINES, Failed, Rule
from squire_gatherings._conform.subject import Misbehaved, Subject

LOOK_AGAIN = 0.05
"""How many seconds pass before a client is asked for its state again."""


@define(eq=False)
class Submission:
    """Something that the client was told to submit."""

    name: str
    ops: list[dict[str, Any]]
    sync_id: str | None = None
    """The id of the client's sync, once it came."""
    result: dict[str, Any] | None = None
    """What the client must report of it, once it is clear."""


@define(eq=False)
class Witness:
    """What one client reports in one story. Everything here raises `Failed`."""

    rule: Rule
    """The story's own."""
    subject: Subject
    room: Room
    patience: float
    submissions: list[Submission] = field(factory=list)

    @contextmanager
    def limit(
        self, did: str, rule: Rule | None = None, *, patience: float | None = None
    ) -> Iterator[None]:
        """Fail the client if the block takes longer than the patience, or than another one."""
        seconds = self.patience if patience is None else patience
        with trio.move_on_after(seconds) as scope:
            yield
        if scope.cancelled_caught:
            raise Failed(rule or self.rule, f"{did} within {seconds:g} s")

    async def tell(self, order: str, **fields: Any) -> None:
        """Give the client an order."""
        with self.limit("didn't read its lines", LINES):
            try:
                await self.subject.tell(order, **fields)
            except Misbehaved as error:
                raise fault(error) from None

    async def report(
        self, is_there: Callable[[], bool], did: str, rule: Rule | None = None
    ) -> None:
        """Wait until the reports are as they must be; fail the client that did so instead."""
        with self.limit(did, rule):
            try:
                await self.subject.wait(is_there)
            except Misbehaved as error:
                raise fault(error) from None

    # Outcomes.

    def answered(self) -> set[str]:
        """Return the ids of the syncs whose outcome is reported."""
        named = {one.name: one.sync_id for one in self.submissions}
        ids = (named.get(one["id"]) for one in self.subject.all("outcome"))
        return {one for one in ids if one is not None}

    def outcomes(self, submission: Submission) -> list[dict[str, Any]]:
        """Return what is reported of a submission."""
        return [one for one in self.subject.all("outcome") if one["id"] == submission.name]

    async def outcome(self, submission: Submission, result: dict[str, Any]) -> None:
        """Wait until a submission has come to this, as the client sees it."""
        submission.result = result
        did = f"reported no outcome of {submission.name!r}"
        await self.report(lambda: bool(self.outcomes(submission)), did, ANSWERS)
        self._judge_outcome(submission)

    def _judge_outcome(self, submission: Submission) -> None:
        outcomes = self.outcomes(submission)
        if submission.result is None:
            said = outcomes and outcomes[0]
            require(not outcomes, ANSWERS, f"reported {said} without an answer")
            return
        count = len(outcomes)
        require(count == 1, ANSWERS, f"reported {count} outcomes of one sync")
        [outcome] = outcomes
        got = {name: outcome.get(name) for name in submission.result}
        did = f"reported {outcome} where the answer is {submission.result}"
        require(got == submission.result, ANSWERS, did)

    # Changes, and the state.

    async def seen(self, seq: int) -> None:
        """Wait until the op `seq` is reported as a change."""

        def is_there() -> bool:
            self._judge_changes()
            return any(change["seq"] == seq for change in self._changes)

        await self.report(is_there, f"didn't report the op {seq}", EACH_ONCE)

    @property
    def _changes(self) -> list[dict[str, Any]]:
        """The changes of the log as it is: those of an earlier one are void."""
        changes: list[dict[str, Any]] = []
        restarts = 0
        for one in self.subject.reports:
            if one["report"] == "restarted":
                restarts += 1
                changes = []
            elif one["report"] == "change":
                changes.append(one)
        return changes if restarts >= self.room.restarts else []

    def _judge_changes(self) -> None:
        begins_after = self.room.begins_after
        if begins_after is not None:
            wrong = wrong_changes(self._changes, self.room.log, begins_after)
            require(wrong is None, EACH_ONCE, wrong or "")

    def _has_all_changes(self) -> bool:
        self._judge_changes()
        begins_after = self.room.begins_after
        if begins_after is None:
            return True
        return not missing_changes(self._changes, self.room.log, begins_after)

    async def judge_all(self) -> None:
        """Judge everything, at the end of a story."""
        await self.report(self._has_all_changes, "didn't report all ops of others", EACH_ONCE)
        if "state" in self.subject.can and self.room.begins_after is not None:
            await self._judge_state()
        self._judge_changes()
        for submission in self.submissions:
            self._judge_outcome(submission)
        over = self.subject.all("over")
        require(not over, self.rule, f"gave up: {over and over[0]['error']}")
        said, happened = len(self.subject.all("restarted")), self.room.restarts
        did = f"reported {said} times that the log is another one, and it was {happened}"
        require(said == happened, self.rule, did)

    async def _judge_state(self) -> None:
        # What it has reported already may be a moment ahead of its state.
        deadline = trio.current_time() + self.patience
        while (wrong := wrong_state(await self._state(), self.room.log)) is not None:
            require(trio.current_time() < deadline, EACH_ONCE, wrong)
            await trio.sleep(LOOK_AGAIN)

    async def _state(self) -> list[Any]:
        before = len(self.subject.all("state"))
        await self.tell("state")
        await self.report(lambda: len(self.subject.all("state")) > before, "gave no state", LINES)
        ops = self.subject.all("state")[-1]["ops"]
        assert isinstance(ops, list)
        return ops


def fault(error: Misbehaved) -> Failed:
    """Return the failure of a client that doesn't keep to the lines."""
    return Failed(LINES, f"didn't: {error}")
