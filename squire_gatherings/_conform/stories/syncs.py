"""Stories of syncs: what a client submits, and what each answer means."""

import trio

from squire_gatherings._conform.stage import Stage
from squire_gatherings._conform.story import story

LEAST_PAUSE = 0.1
"""How many seconds pass at least before something is sent again that can't be taken now."""


@story(
    "A sync has an id, the `base` that the client had, and the ops; `synced` is its answer.", "sync"
)
async def submits(stage: Stage) -> None:
    stage.more(2)
    link = await stage.join()
    await stage.is_in(link)
    submission = await stage.submit(3)
    sync = await stage.sync(link, submission)
    stage.require(sync["base"] == 3, f"sent the base {sync['base']}, and has 3 ops")
    await link.send(stage.apply(link, sync))
    await stage.applied(submission, [4, 5, 6])


@story("Many syncs may be under way, and forwards come between their answers.", "synced")
async def has_many_under_way(stage: Stage) -> None:
    link = await stage.join()
    submissions = [await stage.submit(1 + number % 2) for number in range(8)]
    answers = []
    for submission in submissions:
        sync = await stage.sync(link, submission)
        answers += [*stage.others(link), stage.apply(link, sync)]
    await link.send(*answers)
    for submission in submissions:
        seqs = [seq for seq, one in enumerate(stage.log.ops, 1) if one in submission.ops]
        await stage.applied(submission, seqs)


@story("Where `synced` has `ops`, those are logged, and not what was sent.", "synced", "state")
async def takes_what_was_logged(stage: Stage) -> None:
    link = await stage.join()
    submission = await stage.submit(2)
    sync = await stage.sync(link, submission)
    logged = [{**op, "merged": True} for op in sync["ops"]]
    await link.send(*stage.others(link), stage.apply(link, sync, logged), *stage.others(link))
    await stage.applied(submission, [2, 3])


@story("An answer that comes twice counts once.", "synced")
async def takes_an_answer_once(stage: Stage) -> None:
    link = await stage.join()
    submission = await stage.submit()
    answer = stage.apply(link, await stage.sync(link, submission))
    await link.send(answer, answer)
    await stage.applied(submission, [1])
    await link.send(answer, *stage.others(link))
    await stage.seen(2)


@story("After a `conflict` nothing was applied, and `ops` are what the client lacked.", "conflict")
async def takes_a_conflict(stage: Stage) -> None:
    link = await stage.join()
    submission = await stage.submit()
    sync = await stage.sync(link, submission)
    stage.more(2)
    page = stage.log.page(sync["base"], 2, stage.incarnation, link.join)
    conflict = {"type": "conflict", "id": sync["id"], "seq": 2, "message": "too late", **page}
    link.told = 2
    await link.send(conflict)
    await stage.refused(submission, "conflict")
    await stage.seen(2)
    again = await stage.submit()
    sync = await stage.sync(link, again)
    stage.require(sync["base"] == 2, f"sent the base {sync['base']} after it was told 2 ops")
    await link.send(stage.apply(link, sync))
    await stage.applied(again, [3])


async def _refused_for_good(stage: Stage, code: str) -> None:
    link = await stage.join()
    submission = await stage.submit()
    sync = await stage.sync(link, submission)
    await link.send(stage.error(code, link, sync))
    await stage.refused(submission, code)
    await stage.silence(link, "sent it again")


@story("`rejected`: the ops aren't applied, and aren't sent again.", "error")
async def takes_a_refusal(stage: Stage) -> None:
    await _refused_for_good(stage, "rejected")


@story("`forbidden`: the ops aren't applied, and aren't sent again.", "error")
async def takes_that_it_may_not(stage: Stage) -> None:
    await _refused_for_good(stage, "forbidden")


@story("`id_reused`: the ops aren't applied, and aren't sent again with this id.", "error")
async def takes_that_its_id_was_used(stage: Stage) -> None:
    await _refused_for_good(stage, "id_reused")


@story("`log_full`: the ops aren't applied, and aren't sent again by themselves.", "error")
async def takes_that_the_log_is_full(stage: Stage) -> None:
    await _refused_for_good(stage, "log_full")


@story("A code that a client doesn't know is a refusal for good.", "error")
async def takes_an_unknown_code(stage: Stage) -> None:
    link = await stage.join()
    submission = await stage.submit()
    sync = await stage.sync(link, submission)
    await link.send(stage.error("of_a_later_version", link, sync))
    await stage.refused(submission)
    await stage.silence(link, "sent it again")


@story(
    "An `error` without an id is about the request that isn't answered, if it's the only one.",
    "what-an-error-without-an-id-is-about",
)
async def finds_out_what_an_error_is_about(stage: Stage) -> None:
    link = await stage.join()
    submission = await stage.submit()
    await stage.sync(link, submission)
    await link.send(stage.error("too_big"))
    await stage.refused(submission, "too_big")


@story(
    "After an `error` without an id, several requests that aren't answered are sent again alone.",
    "what-an-error-without-an-id-is-about",
)
async def finds_out_which_one_an_error_is_about(stage: Stage) -> None:
    link = await stage.join()
    submissions = [await stage.submit() for _ in range(2)]
    for submission in submissions:
        await stage.sync(link, submission)
    await link.send(stage.error("rejected"))
    link.syncs.clear()
    first = await stage.next(link, "sync")
    [good] = [one for one in submissions if one.sync_id == first["id"]]
    [bad] = [one for one in submissions if one is not good]
    await stage.silence(link, "sent another one before that was answered")
    await link.send(stage.apply(link, first))
    await stage.applied(good, [1])
    await stage.sync(link, bad)
    await link.send(stage.error("rejected"))
    await stage.refused(bad, "rejected")


@story(
    "A close with 1009 is about the request that isn't answered: it isn't sent again.",
    "what-an-error-without-an-id-is-about",
)
async def sends_nothing_again_that_is_too_big(stage: Stage) -> None:
    link = await stage.join()
    submission = await stage.submit()
    await stage.sync(link, submission)
    await link.close(1009, "too big")
    await stage.refused(submission, "too_big")
    link = await stage.back()
    await stage.silence(link, "sent it again")


@story("A sync has at most `max_ops` ops; one with more isn't sent, or is refused.", "joined")
async def keeps_to_the_limit(stage: Stage) -> None:
    link = await stage.join(max_ops=3)
    await stage.is_in(link)
    submission = await stage.submit(4)
    with trio.move_on_after(stage.watch):
        await stage.sync(link, submission)
        raise stage.fail("sent a sync of 4 ops where `max_ops` is 3")
    await stage.refused(submission, "too_big")


async def _repeated_later(stage: Stage, code: str) -> None:
    link = await stage.join()
    submission = await stage.submit()
    sync = await stage.sync(link, submission)
    for _ in range(2):
        await link.send(stage.error(code, link, sync))
        refused_at = trio.current_time()
        sync = await stage.sync(link, submission)
        pause = trio.current_time() - refused_at
        stage.require(pause >= LEAST_PAUSE, f"sent it again after {pause * 1000:.0f} ms")
    await link.send(stage.apply(link, sync))
    await stage.applied(submission, [1])


@story("`store_unavailable`: the same sync is sent again, after 100 ms at least.", "error")
async def repeats_when_the_store_is_away(stage: Stage) -> None:
    await _repeated_later(stage, "store_unavailable")


@story("`rate_limited`: the same sync is sent again, after 100 ms at least.", "error")
async def repeats_when_it_was_too_fast(stage: Stage) -> None:
    await _repeated_later(stage, "rate_limited")


@story("After `store_unavailable`, `synced` may follow by itself.", "error")
async def takes_an_answer_that_follows(stage: Stage) -> None:
    link = await stage.join()
    submission = await stage.submit()
    sync = await stage.sync(link, submission)
    await link.send(stage.error("store_unavailable", link, sync), stage.apply(link, sync))
    await stage.applied(submission, [1])
    await stage.silence(link, "sent it again though it was answered")
