"""Stories of returning: what a client does after a lost connection."""

from squire_gatherings._conform.rules import SINCE
from squire_gatherings._conform.stage import Stage
from squire_gatherings._conform.story import story

CUTS = 4
"""How often a play cuts the connection in the midst of something."""


@story(
    "A client that returns says what it has, and gets exactly what it missed.",
    "after-a-lost-connection",
)
async def goes_on(stage: Stage) -> None:
    stage.more(2)
    link = await stage.join()
    await link.send(*stage.others(link, 2))
    await stage.seen(4)
    await stage.acked(link, 4)
    await link.cut()
    stage.more(3)
    link = await stage.arrive()
    since = link.join.get("since")
    stage.require(since == 4, f"came back with `since` {since}, and has 4 ops", SINCE)
    await stage.let_in(link)
    await stage.seen(7)


@story("A client that returns by itself, with nothing to submit, says so by `resume`.", "join")
async def says_that_it_comes_by_itself(stage: Stage) -> None:
    link = await stage.join()
    stage.require("resume" not in link.join, "said `resume` when it first came")
    for _ in range(2):
        await link.cut()
        link = await stage.arrive()
        said = link.join.get("resume")
        stage.require(said == stage.incarnation, f"came back with `resume` {said!r}")
        stage.new_incarnation()
        await stage.let_in(link)


@story("A client that returns with something to submit doesn't say `resume`.", "join")
async def says_that_it_wants_something(stage: Stage) -> None:
    link = await stage.join()
    submission = await stage.submit()
    await stage.sync(link, submission)
    await link.cut()
    link = await stage.arrive()
    stage.require("resume" not in link.join, "said `resume`, and has a sync that isn't answered")
    await stage.let_in(link)
    await link.send(stage.apply(link, await stage.sync(link, submission)))
    await stage.applied(submission, [1])


@story(
    "A sync that wasn't answered is sent again, with its id and its ops, on the next connection.",
    "after-a-lost-connection",
)
async def repeats_what_was_not_answered(stage: Stage) -> None:
    link = await stage.join()
    submissions = [await stage.submit() for _ in range(3)]
    for submission in submissions:
        await stage.sync(link, submission)
    await link.cut()
    link = await stage.back()
    for number, submission in enumerate(submissions, 1):
        sync = await stage.sync(link, submission)
        await link.send(stage.apply(link, sync))
        await stage.applied(submission, [number])


@story("A sync that was answered isn't sent again.", "after-a-lost-connection")
async def repeats_nothing_that_was_answered(stage: Stage) -> None:
    link = await stage.join()
    submission = await stage.submit()
    await link.send(stage.apply(link, await stage.sync(link, submission)))
    await stage.applied(submission, [1])
    await link.cut()
    link = await stage.back()
    await stage.silence(link, "sent a sync again that was answered")


@story(
    "After a return, a client's own ops come among the others' ops, and are its own.",
    "which-ops-are-ones-own",
)
async def knows_its_own_ops(stage: Stage) -> None:
    link = await stage.join()
    submission = await stage.submit(2)
    sync = await stage.sync(link, submission)
    stage.more(1)
    stage.apply(link, sync)
    stage.more(1)
    # Somebody else, who is the same user: `by` doesn't tell.
    stage.more(1, "ann")
    await link.cut()
    link = await stage.back()
    again = await stage.sync(link, submission)
    await link.send(stage.synced(link, again, [2, 3]))
    await stage.applied(submission, [2, 3])
    await stage.seen(5)


@story(
    "A sync that couldn't be taken at first may have been applied when the client returns.",
    "which-ops-are-ones-own",
)
async def knows_its_own_ops_that_were_put_off(stage: Stage) -> None:
    link = await stage.join()
    submission = await stage.submit(2)
    sync = await stage.sync(link, submission)
    await link.send(stage.error("store_unavailable", link, sync))
    await link.cut()
    seqs = stage.apply(link, sync)["seqs"]
    stage.more(1)
    link = await stage.back()
    again = await stage.sync(link, submission)
    await link.send(stage.synced(link, again, seqs))
    await stage.applied(submission, seqs)
    await stage.seen(3)


@story(
    "A connection may break at any byte; nothing is lost, and nothing comes twice.",
    "after-a-lost-connection",
)
async def survives_cuts_at_any_byte(stage: Stage) -> None:
    link = await stage.join()
    for _ in range(CUTS):
        submission = await stage.submit()
        sync = await stage.sync(link, submission)
        before = stage.others(link, 2)
        answer = stage.apply(link, sync)
        seqs = answer["seqs"]
        burst = link.payload(*before, answer)
        whole = len(burst)
        burst += link.payload(*stage.others(link, 2))
        at = stage.random.randint(0, len(burst))
        await link.send_bytes(burst[:at])
        await link.cut()
        link = await stage.arrive()
        if stage.random.random() < 0.5:
            joined = link.payload(stage.joined(link))
            await link.send_bytes(joined[: stage.random.randint(0, len(joined) - 1)])
            await link.cut()
            link = await stage.arrive()
        await stage.let_in(link)
        if at < whole:
            again = await stage.sync(link, submission)
            await link.send(stage.synced(link, again, seqs))
        await stage.applied(submission, seqs)


@story("However a connection ends without a notice, the client comes back.", "close-codes")
async def comes_back_after_any_close(stage: Stage) -> None:
    link = await stage.join()
    for code in (1000, 1001, 1002, 1007, 1011, 1013, 4008, 4010):
        await link.send(*stage.others(link))
        await stage.seen(stage.log.seq)
        await link.close(code, "the story says so")
        link = await stage.back()


@story("A connection may end right behind an answer, which counts.", "synced")
async def takes_the_last_answer(stage: Stage) -> None:
    link = await stage.join()
    submission = await stage.submit()
    answer = stage.apply(link, await stage.sync(link, submission))
    await link.close(1001, "going away", after=link.payload(answer, *stage.others(link)))
    await stage.applied(submission, [1])
    link = await stage.back()
    await stage.silence(link, "sent a sync again that was answered")


@story("A join that broke off before its answer is made again.", "after-a-lost-connection")
async def joins_again_after_a_cut(stage: Stage) -> None:
    stage.more(2)
    await stage.order_join()
    for _ in range(2):
        link = await stage.arrive()
        await link.cut()
    await stage.back()
