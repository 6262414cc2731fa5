"""Stories of logs: epochs, and a log that isn't the one that the client knows."""

from squire_gatherings._conform.links import Link
from squire_gatherings._conform.rules import SINCE
from squire_gatherings._conform.stage import Stage
from squire_gatherings._conform.story import story


async def _come_back_to_another_log(stage: Stage) -> Link:
    """Have a client that has ops come back, where the log has become one with one op."""
    link = await stage.join()
    await link.send(*stage.others(link, 3))
    await stage.seen(stage.log.seq)
    await link.cut()
    link = await stage.arrive()
    stage.new_log(1)
    return link


@story(
    "The epoch of an op is that of its message, or else the incarnation of this `joined`.", "epochs"
)
async def keeps_the_epoch(stage: Stage) -> None:
    stage.more(2)
    stage.new_incarnation()
    link = await stage.join()
    # Nothing new: the last op is of the incarnation before.
    for _ in range(2):
        await link.cut()
        link = await stage.back()
    await link.send(*stage.others(link, 2))
    await stage.seen(4)
    await link.cut()
    stage.new_incarnation()
    link = await stage.back()
    submission = await stage.submit()
    await link.send(stage.apply(link, await stage.sync(link, submission)))
    await stage.applied(submission, [5])
    await link.cut()
    await stage.back()


@story(
    "After `log_replaced` (4011) a client forgets what it has, and joins without `since`.", "epochs"
)
async def begins_anew(stage: Stage) -> None:
    stage.more(3)
    link = await _come_back_to_another_log(stage)
    refusal = stage.error("log_replaced")
    await link.close(4011, "log replaced", after=link.payload(refusal))
    link = await stage.arrive()
    since = link.join.get("since")
    stage.require(not since, f"came back with `since` {since}, of another log", SINCE)
    await stage.let_in(link)
    await stage.seen(1)
    await link.send(*stage.others(link))
    await stage.seen(2)


@story(
    "What wasn't answered when the log was replaced is submitted to the new one, with its id.",
    "epochs",
)
async def takes_its_syncs_to_the_new_log(stage: Stage) -> None:
    stage.more(3)
    link = await stage.join()
    submission = await stage.submit()
    await stage.sync(link, submission)
    await link.cut()
    link = await stage.arrive()
    stage.new_log(1)
    refusal = stage.error("log_replaced")
    await link.close(4011, "log replaced", after=link.payload(refusal))
    link = await stage.back()
    sync = await stage.sync(link, submission)
    stage.require(sync["base"] <= 1, f"sent the base {sync['base']}, which the new log hasn't")
    await link.send(stage.apply(link, sync))
    await stage.applied(submission, [2])


@story(
    "`bad_base` as the answer to a join with `since` means that the log is another one.",
    "a-log-that-is-behind",
)
async def takes_a_bad_base_for_another_log(stage: Stage) -> None:
    link = await _come_back_to_another_log(stage)
    await link.close(1002, "bad base", after=link.payload(stage.error("bad_base")))
    await stage.back()
    await stage.seen(1)


@story(
    "A `joined` whose `seq` is less than what the client has is another log.",
    "a-log-that-is-behind",
)
async def notices_a_log_that_is_behind(stage: Stage) -> None:
    link = await _come_back_to_another_log(stage)
    message = stage.joined(link) | {"seq": 1, "ops": [], "by": []}
    for name in ("times", "syncs", "epoch", "proof"):
        message.pop(name, None)
    await link.send(message)
    again = await stage.arrive()
    link.release()
    since = again.join.get("since")
    stage.require(not since, f"came back with `since` {since}, of another log", SINCE)
    await stage.let_in(again)
    await stage.seen(1)


@story(
    "`first_seq` says that ops before it are gone; the client goes on from there.",
    "a-log-that-was-cut-short",
)
async def goes_on_behind_what_is_gone(stage: Stage) -> None:
    link = await stage.join()
    await link.send(*stage.others(link, 2))
    await stage.seen(2)
    await link.cut()
    stage.more(4)
    link = await stage.arrive()
    page = stage.log.page(4, 6, stage.incarnation, link.join)
    stage.log.gone = range(3, 5)
    await stage.let_in(link, first_seq=5, **page)
    await stage.seen(6)
    submission = await stage.submit()
    await link.send(stage.apply(link, await stage.sync(link, submission)))
    await stage.applied(submission, [7])
