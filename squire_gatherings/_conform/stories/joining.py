"""Stories of joining: who comes in, and what one who is refused does."""

import trio

from squire_gatherings._conform.stage import Stage
from squire_gatherings._conform.story import story

MOST_ATTEMPTS = 12
"""How often a client may try within `REFUSED_FOR`. One whose pauses grow from a tenth of a second
on, and are random, tries five to eight times."""
REFUSED_FOR = 1.5


@story("The first message is `join`, and it says the token and the client's id.", "join")
async def joins(stage: Stage) -> None:
    link = await stage.join()
    await stage.silence(link, "sent something though nobody asked for anything", ("sync", "fetch"))


@story("What was in the log before the join is the client's, and no change.", "joined")
async def finds_what_was_there(stage: Stage) -> None:
    stage.more(3)
    link = await stage.join()
    await link.send(*stage.others(link))
    await stage.seen(4)


@story("Where `ops` end before `seq`, the rest comes by itself as forwards.", "joined")
async def takes_the_rest(stage: Stage) -> None:
    stage.more(5)
    await stage.order_join()
    link = await stage.arrive()
    await stage.let_in(link, 2)
    if link.told < stage.log.seq:
        await link.send(stage.forward(link, 3), stage.forward(link, 4, 5))
    await link.send(*stage.others(link))
    await stage.seen(6)


@story("A `snapshot` is the state after `seq`, in place of ops.", "joined", "snapshot", "state")
async def takes_a_snapshot(stage: Stage) -> None:
    stage.more(4)
    await stage.order_join()
    link = await stage.arrive()
    message = stage.joined(link) | {"snapshot": stage.log.ops}
    del message["ops"], message["by"]
    message.pop("times", None)
    message.pop("syncs", None)
    await link.send(message)
    await link.send(*stage.others(link))
    await stage.seen(5)


@story(
    "A join that is answered late is waited for, and what was asked meanwhile isn't lost.", "join"
)
async def waits_to_be_let_in(stage: Stage) -> None:
    await stage.order_join()
    link = await stage.arrive()
    submission = await stage.submit()
    await trio.sleep(stage.watch)
    await stage.let_in(link)
    sync = await stage.sync(link, submission)
    await link.send(stage.apply(link, sync))
    await stage.applied(submission, [1])


@story("A server without room answers with 503: try again after a pause.", "what-a-server-refuses")
async def comes_back_after_503(stage: Stage) -> None:
    link = await stage.join()
    await link.cut()
    await (await stage.knock()).refuse(503, "full")
    await stage.back()


@story("An error that passes, as the answer to a join: join again after a pause.", "error")
async def joins_again_when_it_passes(stage: Stage) -> None:
    link = await stage.join()
    await link.cut()
    refusals = [("full", 1013), ("store_unavailable", 1013), ("hall_closed", 1001), ("moved", 4010)]
    for code, close_code in refusals:
        link = await stage.arrive()
        await link.close(close_code, code, after=link.payload(stage.error(code)))
    await stage.back()


@story("Attempts that fail are repeated after pauses that grow.", "pauses")
async def backs_off(stage: Stage) -> None:
    link = await stage.join()
    await link.cut()
    await (await stage.knock()).refuse(503, "full")
    attempts = 1
    with trio.move_on_after(REFUSED_FOR):
        while attempts <= MOST_ATTEMPTS:
            await (await stage.knock()).refuse(503, "full")
            attempts += 1
    did = f"tried more than {MOST_ATTEMPTS} times within {REFUSED_FOR:g} s"
    stage.require(attempts <= MOST_ATTEMPTS, did)
    stage.is_over = True


@story("A client that is closed with 4029 comes back after pauses that grow.", "pauses")
async def backs_off_when_it_was_too_much(stage: Stage) -> None:
    link = await stage.join()
    attempts = 0
    await link.close(4029, "rate limit")
    with trio.move_on_after(REFUSED_FOR):
        while attempts <= MOST_ATTEMPTS:
            link = await stage.back()
            attempts += 1
            await link.close(4029, "rate limit")
    did = f"came back more than {MOST_ATTEMPTS} times within {REFUSED_FOR:g} s"
    stage.require(attempts <= MOST_ATTEMPTS, did)
    stage.is_over = True


@story("Who isn't let in (4003) doesn't try again by itself.", "error")
async def stays_out(stage: Stage) -> None:
    await stage.order_join()
    link = await stage.arrive()
    refusal = stage.error("unauthorized")
    await link.close(4003, "unauthorized", after=link.payload(refusal))
    await stage.over("unauthorized")
    await stage.nobody_comes("tried again")


@story("Who was put out (4003) doesn't come back by itself.", "close-codes")
async def stays_out_when_put_out(stage: Stage) -> None:
    link = await stage.join()
    await link.close(4003, "put out")
    await stage.over("unauthorized")
    await stage.nobody_comes("came back")


@story("A client whose place another connection took (4009) leaves it to that one.", "close-codes")
async def gives_way(stage: Stage) -> None:
    link = await stage.join()
    await link.close(4009, "replaced", after=link.payload(stage.error("replaced")))
    await stage.over("replaced")
    await stage.nobody_comes("came back")
