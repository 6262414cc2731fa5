"""The stage: a room and the client under test, as a story plays with them.

What a client sends and reports is judged on the way, by the rules that hold in every story.
"""

import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import trio
from attrs import define, field

from squire_gatherings._conform.encodings import Encoding
from squire_gatherings._conform.judge import Judge, require
from squire_gatherings._conform.links import NO_CODE, BadFrames, HungUp, Link
from squire_gatherings._conform.messages import PROBE, what_is_wrong
from squire_gatherings._conform.room import Message, Room
from squire_gatherings._conform.rules import FIRST, GOODBYE, MESSAGES, Failed, Rule
from squire_gatherings._conform.subject import Misbehaved, Subject
from squire_gatherings._conform.witness import Submission, Witness, fault

TOKEN = "t0k-en.of-the.client"
"""The token that the client is given."""
RENEWED = "an0th-er.token-of.the-same"
"""What it is to say when it needs another one."""

A_MOMENT = 1.0
"""How many seconds pass between a process's last byte and the news of its end, at the most."""

T = TypeVar("T")


@define(eq=False, kw_only=True)
class Stage(Room):
    """One play of one story. Whatever waits here raises `Failed` once that takes too long."""

    rule: Rule
    """The story's own."""
    subject: Subject
    encoding: Encoding
    random: random.Random
    patience: float
    """How many seconds a client may take for what it must do."""
    watch: float
    """For how many seconds it is watched where it must do nothing."""
    arrivals: trio.MemoryReceiveChannel[Link]
    is_over: bool = False
    """Whether the client's stay has ended, or what it reported is of no more interest."""
    judge: Judge = field(init=False)
    witness: Witness = field(init=False)
    _links: list[Link] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.judge = Judge(self, (TOKEN, RENEWED))
        self.witness = Witness(self.rule, self.subject, self, self.patience)

    def fail(self, did: str, rule: Rule | None = None) -> Failed:
        """Return the failure of a client that did so, against the story's rule or another."""
        return Failed(rule or self.rule, did)

    def require(self, holds: bool, did: str, rule: Rule | None = None) -> None:
        """Fail a client that did so, unless it holds."""
        require(holds, rule or self.rule, did)

    # Connections.

    async def order_join(self, **more: Any) -> None:
        """Have the client join, with a token, and with these fields in the order."""
        fields = {"token": TOKEN, "renew": RENEWED, "encoding": self.encoding.name, **more}
        await self.witness.tell("join", gathering=self.gathering, **fields)

    async def knock(self) -> Link:
        """Wait for the client's next connection; its request isn't answered yet."""
        with self.witness.limit("didn't connect"):
            link = await self._unless_it_fails(self._arrival)
        self._links.append(link)
        encoding = self.encoding
        self.judge.request(link, encoding.subprotocol, is_default=encoding.is_text)
        return link

    async def arrive(self) -> Link:
        """Wait for the client's next connection and its join, which isn't answered yet."""
        link = await self.knock()
        try:
            await link.accept(self.encoding)
        except BadFrames as error:
            raise self.fail(str(error), MESSAGES) from None
        message = await self._receive(link, "join")
        self.require(message["type"] == "join", f"began with a `{message['type']}`", FIRST)
        self.judge.join(link, message)
        link.join, link.told = message, message.get("since") or 0
        return link

    async def let_in(self, link: Link, up_to: int | None = None, **more: Any) -> None:
        """Answer the join; with the ops up to `up_to`, if not all, and with these fields."""
        await link.send(self.joined(link, up_to, **more))

    async def join(self, **more: Any) -> Link:
        """Have the client join, and let it in."""
        await self.order_join()
        return await self.back(**more)

    async def is_in(self, link: Link) -> None:
        """Wait until the client has surely taken the answer to its join: it reports what follows.

        What it is told to do may otherwise overtake that answer.
        """
        await link.send(*self.others(link))
        await self.seen(self.log.seq)

    async def back(self, **more: Any) -> Link:
        """Wait until the client is back, and let it in."""
        link = await self.arrive()
        await self.let_in(link, **more)
        return link

    async def nobody_comes(self, did: str) -> None:
        """Fail the client if it connects while it is watched."""
        with trio.move_on_after(self.watch):
            link = await self._unless_it_fails(self._arrival)
            link.release()
            raise self.fail(did)

    async def _arrival(self) -> Link:
        """Wait for a connection, while those before it may end as they should."""
        async with trio.open_nursery() as nursery:
            for before in self._links:
                if before.encoding is not None and not before.released.is_set():
                    nursery.start_soon(before.drain)
            link = await self.arrivals.receive()
            nursery.cancel_scope.cancel()
        return link

    # What the client says.

    async def next(self, link: Link, kind: str) -> Message:
        """Return the client's next message, which must be of that type; acks come in between."""
        while True:
            message = await self._receive(link, kind)
            got = message["type"]
            self.require(got != "join", "sent a second one", FIRST)
            if got == kind:
                return message
            self.require(got == "ack", f"sent a `{got}` where a `{kind}` is due")

    async def acked(self, link: Link, seq: int) -> None:
        """Wait until the client has acknowledged everything up to `seq`."""
        while link.acked < seq:
            message = await self._receive(link, f"ack of {seq}")
            got = message["type"]
            self.require(got == "ack", f"sent a `{got}` where an `ack` is due")

    async def sync(self, link: Link, submission: Submission) -> Message:
        """Return the client's next sync, which must be that of the submission."""
        sync = await self.next(link, "sync")
        self.judge.sync(link, sync, self.witness.answered())
        same = sync["ops"] == submission.ops
        self.require(same, "sent other ops than it was given, or in another order")
        submission.sync_id = sync["id"]
        return sync

    async def silence(self, link: Link, did: str, kinds: Iterable[str] = ("sync",)) -> None:
        """Fail the client if it sends such messages, or hangs up, while it is watched."""
        with trio.move_on_after(self.watch):
            while True:
                message = await self._receive(link, "ack", patience=2 * self.watch)
                self.require(message["type"] not in kinds, did)

    async def _receive(self, link: Link, due: str, patience: float | None = None) -> Message:
        while True:
            try:
                with self.witness.limit(f"sent no `{due}`", patience=patience):
                    data = await self._unless_it_fails(link.receive)
            except BadFrames as error:
                raise self.fail(str(error), MESSAGES) from None
            except HungUp as error:
                await self._look_for_faults()
                how = "" if error.code == NO_CODE else f" with {error.code}"
                raise self.fail(f"closed the connection{how} where a `{due}` is due") from None
            message = self._understand(data)
            if message["type"] == "ack":
                self.judge.ack(link, message["seq"])
            if message["type"] != PROBE:
                return message
            about = message if isinstance(message.get("id"), str) else None
            await link.send(self.error("unknown_type", link, about))

    def _understand(self, data: bytes) -> Message:
        try:
            message = self.encoding.decode(data)
        except ValueError:
            raise self.fail(f"sent what is no {self.encoding.name}", MESSAGES) from None
        wrong = what_is_wrong(message)
        self.require(wrong is None, wrong or "", MESSAGES)
        assert isinstance(message, dict)
        return message

    async def _look_for_faults(self) -> None:
        """Fail a client that has hung up since it is dead."""
        with trio.move_on_after(A_MOMENT):
            try:
                await self.subject.wait(lambda: False)
            except Misbehaved as error:
                raise fault(error) from None

    async def _unless_it_fails(self, wait: Callable[[], Awaitable[T]]) -> T:
        """Wait for something; fail the client as soon as it misbehaves."""
        results: list[T] = []
        failures: list[Exception] = []
        async with trio.open_nursery() as nursery:

            async def wait_for_it() -> None:
                try:
                    results.append(await wait())
                except (HungUp, BadFrames) as error:
                    failures.append(error)
                nursery.cancel_scope.cancel()

            async def wait_for_faults() -> None:
                try:
                    await self.subject.wait(lambda: False)
                except Misbehaved as error:
                    failures.append(fault(error))
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait_for_it)
            nursery.start_soon(wait_for_faults)
        if results:
            return results[0]
        raise failures[0]

    # What the client is told to do, and reports.

    async def submit(self, count: int = 1) -> Submission:
        """Have the client submit ops."""
        submissions = self.witness.submissions
        submission = Submission(f"s{len(submissions) + 1}", [self.op() for _ in range(count)])
        submissions.append(submission)
        await self.witness.tell("submit", id=submission.name, ops=submission.ops)
        return submission

    async def fetch(self, at: int) -> None:
        """Have the client ask for the gathering as it was after that op."""
        await self.witness.tell("fetch", id="f1", at=at)

    async def fetched(self) -> Message:
        """Wait until the client reports what it has fetched."""
        fetched = self.subject.all
        await self.witness.report(lambda: bool(fetched("fetched")), "reported nothing fetched")
        return fetched("fetched")[0]

    async def applied(self, submission: Submission, seqs: list[int]) -> None:
        """Wait until the client reports that the ops are applied, under these seqs."""
        await self.witness.outcome(submission, {"seqs": seqs})

    async def refused(self, submission: Submission, code: str | None = None) -> None:
        """Wait until the client reports that they are refused; with this code, if it's known."""
        await self.witness.outcome(submission, {"seqs": None} | ({"error": code} if code else {}))

    async def seen(self, seq: int) -> None:
        """Wait until the client has reported the op `seq` as a change."""
        await self.witness.seen(seq)

    async def ended(self, reason: str, count: int = 1) -> None:
        """Wait until the client reports that the gathering has ended, and lies asleep."""
        ended = self.subject.all
        did = f"didn't report that the gathering has ended ({reason})"
        await self.witness.report(lambda: len(ended("ended")) >= count, did)
        said = ended("ended")[-1]["reason"]
        self.require(said == reason, f"reported the reason {said!r} for {reason!r}")

    async def over(self, code: str) -> None:
        """Wait until the client reports that its stay is over for good."""
        over = self.subject.all
        await self.witness.report(lambda: bool(over("over")), "didn't report that it's over")
        said = over("over")[0]["error"]
        self.require(said == code, f"reported {said!r}, and it is {code!r}")
        self.is_over = True

    # The end.

    async def finish(self) -> None:
        """Judge what has been reported in all, and have the client leave."""
        if not self.is_over:
            await self.witness.judge_all()
        await self.witness.tell("leave")
        if self._links and not self._links[-1].released.is_set():
            await self._say_goodbye(self._links[-1])
        left = self.subject.all
        await self.witness.report(lambda: bool(left("left")), "didn't leave", GOODBYE)

    async def _say_goodbye(self, link: Link) -> None:
        try:
            while True:
                with self.witness.limit("said no goodbye", GOODBYE):
                    data = await self._unless_it_fails(link.receive)
                if self._understand(data)["type"] == "leave":
                    await link.close(1000)
                    return
        except HungUp as error:
            self.require(error.code != NO_CODE, "broke the connection", GOODBYE)
        except BadFrames as error:
            raise self.fail(str(error), MESSAGES) from None

    def clear(self) -> None:
        """Let go of all connections."""
        for link in self._links:
            link.release()
