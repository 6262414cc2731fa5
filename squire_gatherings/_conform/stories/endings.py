"""Stories of ends: what a client does when its gathering has dispersed."""

from squire_gatherings._conform.links import Link
from squire_gatherings._conform.stage import Stage
from squire_gatherings._conform.story import story

LEAVE_ALONE = ("idle", "empty", "unjoined", "alone", "max_age", "ends_at", "admin")


async def _disperse(stage: Stage, link: Link, reason: str, code: int = 4001) -> None:
    await link.close(code, reason, after=link.payload(stage.dispersed(reason)))
    stage.new_incarnation()


async def _wake(stage: Stage) -> Link:
    """Have the client submit something: it comes back for that."""
    submission = await stage.submit()
    link = await stage.arrive()
    stage.require("resume" not in link.join, "said `resume`, and has something to submit")
    await stage.let_in(link)
    sync = await stage.sync(link, submission)
    await link.send(stage.apply(link, sync))
    await stage.applied(submission, [stage.log.seq])
    return link


@story("A gathering that has dispersed is left alone until there's something to do.", "dispersed")
async def leaves_it_asleep(stage: Stage) -> None:
    link = await stage.join()
    await link.send(*stage.others(link))
    await stage.seen(1)
    await _disperse(stage, link, "idle")
    await stage.ended("idle")
    await stage.nobody_comes("came back, though nothing was to be done")
    await _wake(stage)


@story("Each reason after which nothing is wrong is told, and means the same.", "dispersed")
async def knows_the_reasons(stage: Stage) -> None:
    link = await stage.join()
    for number, reason in enumerate(LEAVE_ALONE, 1):
        await _disperse(stage, link, reason)
        await stage.ended(reason, number)
        link = await _wake(stage)


@story("A reason that a client doesn't know means what `idle` means.", "dispersed")
async def takes_an_unknown_reason_for_idle(stage: Stage) -> None:
    link = await stage.join()
    await _disperse(stage, link, "of_a_later_version")
    await stage.ended("of_a_later_version")
    await stage.nobody_comes("came back, though nothing was to be done")
    await _wake(stage)


@story(
    "After `shutdown`, `crashed`, `evicted` and `moved` a client comes back by itself.", "dispersed"
)
async def comes_back_where_it_should(stage: Stage) -> None:
    link = await stage.join()
    reasons = [("shutdown", 1001), ("crashed", 1011), ("evicted", 4001), ("moved", 4010)]
    for reason, code in reasons:
        await link.send(*stage.others(link))
        await stage.seen(stage.log.seq)
        await _disperse(stage, link, reason, code)
        link = await stage.back()
    ended = stage.subject.all("ended")
    stage.require(not ended, f"reported an end by {ended and ended[0]['reason']!r}, and goes on")


@story(
    "A sync that isn't answered when the gathering disperses is sent to the next incarnation.",
    "dispersed",
)
async def takes_its_syncs_along(stage: Stage) -> None:
    link = await stage.join()
    submission = await stage.submit()
    await stage.sync(link, submission)
    await _disperse(stage, link, "idle")
    link = await stage.back()
    await link.send(stage.apply(link, await stage.sync(link, submission)))
    await stage.applied(submission, [1])


@story("An answer and an end may come together: both count.", "dispersed")
async def takes_an_answer_before_the_end(stage: Stage) -> None:
    link = await stage.join()
    submission = await stage.submit()
    answer = stage.apply(link, await stage.sync(link, submission))
    burst = link.payload(*[answer, *stage.others(link)], stage.dispersed("max_age"))
    await link.close(4001, "max_age", after=burst)
    stage.new_incarnation()
    await stage.applied(submission, [1])
    await stage.ended("max_age")
    await stage.nobody_comes("came back, though nothing was to be done")
    await _wake(stage)


@story(
    "`dispersed` may be the answer to a join that says `resume`: the gathering sleeps on.", "join"
)
async def is_told_of_an_end_when_it_returns(stage: Stage) -> None:
    link = await stage.join()
    await link.send(*stage.others(link))
    await stage.seen(1)
    await link.cut()
    link = await stage.arrive()
    await _disperse(stage, link, "idle")
    await stage.ended("idle")
    await stage.nobody_comes("came back, though nothing was to be done")
    await _wake(stage)


@story("A notice without a close frame behind it is an end all the same.", "dispersed")
async def needs_no_close_frame(stage: Stage) -> None:
    link = await stage.join()
    await link.send(stage.dispersed("empty"))
    await link.cut()
    stage.new_incarnation()
    await stage.ended("empty")
    await stage.nobody_comes("came back, though nothing was to be done")
    await _wake(stage)


@story("A warning of the end ends nothing, and may be ignored.", "ending")
async def lives_with_a_warning(stage: Stage) -> None:
    link = await stage.join()
    warning = {
        "type": "ending",
        "gathering": stage.gathering,
        "incarnation": stage.incarnation,
        "rule": "idle",
        "expires_in": 60.0,
        "at_time": 1767225600000,
    }
    off = warning | {"expires_in": None, "at_time": None}
    await link.send(warning, *stage.others(link), off, warning | {"rule": "of_a_later_version"})
    await stage.acked(link, 1)
