"""A run: all stories, one after the other, with one client for as long as it keeps the rules."""

import random
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import trio
from attrs import define, field, frozen

from squire_gatherings._conform.control import Control
from squire_gatherings._conform.encodings import ENCODINGS, Encoding
from squire_gatherings._conform.process import CannotStart, open_process
from squire_gatherings._conform.report import Report, Result
from squire_gatherings._conform.rules import LINES, Failed, Rule
from squire_gatherings._conform.server import CONTROL, CannotListen, Server, open_server
from squire_gatherings._conform.stage import Stage
from squire_gatherings._conform.story import Story
from squire_gatherings._conform.subject import Misbehaved, Subject

LONGEST = 15
"""How many times the patience a whole story may take."""
START = 30.0
"""How many seconds a client may take to say that it is ready, at least."""
HOST = "127.0.0.1"

OpenSubject = Callable[[], AbstractAsyncContextManager[Subject]]


class CannotRun(Exception):
    """Nothing can be played; says why."""


@frozen
class Plan:
    """What is played, and how."""

    stories: Sequence[Story]
    encodings: Sequence[str] | None = None
    """None for those that the client says."""
    seed: int = 1
    patience: float = 10.0
    watch: float = 0.5
    jobs: int = 1
    """How many clients are played at a time."""


async def run(
    plan: Plan,
    command: Sequence[str] | None,
    address: tuple[str, int] | None,
    tell: Callable[[Result], None],
    waits: Callable[[str], None],
) -> Report:
    """Play the stories.

    Args:
        plan: What is played.
        command: Runs the client; None where it connects by itself.
        address: Where the server listens; None for a free port.
        tell: Called with each result.
        waits: Called with the URL of the control channel, where a client is to open it.

    Returns:
        What was found.

    Raises:
        CannotRun: There is no client, or no address to listen at.

    Cancellation: Ends the client, and closes everything.
    """
    control = Control()
    host, port = address or (HOST, 0)
    controlled = None if command is not None else control.controlled
    try:
        async with open_server(host, port, controlled) as server:
            if command is None:
                waits(server.url + CONTROL)
            opener: OpenSubject = (
                control.open_subject
                if command is None
                else lambda: open_process(command, server.url)
            )
            return await play_all(plan, server, opener, tell)
    except* (CannotRun, CannotStart, CannotListen) as group:
        failure: BaseException = group
        while isinstance(failure, BaseExceptionGroup):
            failure = failure.exceptions[0]
        raise CannotRun(str(failure)) from None
    raise AssertionError("it returns or raises")


async def play_all(
    plan: Plan, server: Server, open_subject: OpenSubject, tell: Callable[[Result], None]
) -> Report:
    """Play all stories of a plan, with so many clients at a time as it says."""
    run = _Run(plan, server, open_subject, tell)
    async with trio.open_nursery() as nursery:
        # What the first one says of itself decides what is played.
        await nursery.start(run.play_on)
        for _ in range(min(plan.jobs, len(run.left)) - 1):
            nursery.start_soon(run.play_on)
    order = {one.name: number for number, one in enumerate(plan.stories)}
    results = sorted(run.results, key=lambda one: (one.encoding, order[one.story]))
    return Report(run.name, plan.seed, results)


@define(eq=False)
class _Run:
    """What is still to be played, and what was found."""

    plan: Plan
    server: Server
    open_subject: OpenSubject
    tell: Callable[[Result], None]
    results: list[Result] = field(factory=list)
    name: str = "the client"
    is_known: bool = False
    """Whether a client has said what it can do, so that it is known what is to be played."""
    left: deque[tuple[Story, Encoding]] = field(factory=deque)

    async def play_on(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Play with one client at a time, until nothing is left.

        A client that breaks a rule is ended: the next story has a new one.
        """
        while self.left or not self.is_known:
            async with self.open_subject() as subject:
                fault = await _until_ready(subject, max(START, self.plan.patience))
                if fault is None:
                    self._know(subject)
                    task_status.started()
                    task_status = trio.TASK_STATUS_IGNORED
                    await self._play_with(subject)
                elif not self.is_known:
                    raise CannotRun(fault)
                elif self.left:
                    failure = Failed(LINES, f"didn't: {fault}")
                    self._add(_result(*self.left.popleft(), failure=failure))

    async def _play_with(self, subject: Subject) -> None:
        while self.left:
            result = await _play(self.plan, *self.left.popleft(), self.server, subject)
            self._add(result)
            if result.outcome == "failed":
                break

    def _know(self, subject: Subject) -> None:
        if not self.is_known:
            self.is_known, self.name = True, subject.name
            encodings = _encodings(self.plan, subject)
            self.left.extend((one, how) for how in encodings for one in self.plan.stories)

    def _add(self, result: Result) -> None:
        self.results.append(result)
        self.tell(result)


async def _until_ready(subject: Subject, patience: float) -> str | None:
    with trio.move_on_after(patience):
        try:
            await subject.wait(lambda: subject.is_ready)
        except Misbehaved as error:
            return str(error)
        return None
    return f"the client's line `ready` didn't come within {patience:g} s"


def _encodings(plan: Plan, subject: Subject) -> list[Encoding]:
    names = subject.encodings if plan.encodings is None else plan.encodings
    found = [ENCODINGS[name] for name in names if name in ENCODINGS]
    if not found:
        raise CannotRun(f"there is no encoding to play in: {', '.join(names) or 'none'}")
    return found


async def _play(
    plan: Plan, story: Story, encoding: Encoding, server: Server, subject: Subject
) -> Result:
    lacks = sorted(story.needs - subject.can)
    if lacks:
        return _result(story, encoding, lacks=", ".join(lacks))
    began = trio.current_time()
    failure = await play(plan, story, encoding, server, subject)
    return _result(story, encoding, failure=failure, seconds=trio.current_time() - began)


async def play(
    plan: Plan, story: Story, encoding: Encoding, server: Server, subject: Subject
) -> Failed | None:
    """Play one story; return how the client failed, if it did."""
    gathering = f"{story.name}-{encoding.name}-{random.randrange(2**32):08x}"
    stage = Stage(
        gathering=gathering,
        rule=story.rule,
        subject=subject,
        encoding=encoding,
        random=random.Random(f"{plan.seed} {story.name} {encoding.name}"),
        patience=plan.patience,
        watch=plan.watch,
        arrivals=server.open_room(gathering),
    )
    subject.begin()
    longest = LONGEST * plan.patience
    try:
        with trio.move_on_after(longest):
            await story.play(stage)
            await stage.finish()
            return None
        return Failed(story.rule, f"wasn't done with it within {longest:g} s")
    except Failed as failure:
        return failure
    finally:
        server.close_room(gathering)
        stage.clear()


def _result(
    story: Story,
    encoding: Encoding,
    *,
    failure: Failed | None = None,
    lacks: str | None = None,
    seconds: float = 0.0,
) -> Result:
    rule: Rule = story.rule if failure is None else failure.rule
    return Result(
        story.name,
        encoding.name,
        "skipped" if lacks else "passed" if failure is None else "failed",
        rule.text,
        rule.link,
        lacks if failure is None else failure.did,
        round(seconds, 3),
    )
