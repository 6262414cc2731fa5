"""Stories of fetches, for clients that can ask for a gathering as it was."""

from squire_gatherings._conform.stage import Stage
from squire_gatherings._conform.story import story


@story(
    "A `fetch` with `at` asks for the log up to there; `fetched` is its answer.", "fetch", "fetch"
)
async def fetches_what_was(stage: Stage) -> None:
    stage.more(4)
    link = await stage.join()
    await stage.fetch(3)
    fetch = await stage.next(link, "fetch")
    stage.require(fetch.get("at") == 3, f"asked for {fetch.get('at')!r} where 3 is wanted")
    page = stage.log.page(fetch.get("since") or 0, 3, stage.incarnation, link.join)
    await link.send({"type": "fetched", "id": fetch["id"], "seq": 3, **page})
    fetched = await stage.fetched()
    right = fetched.get("ops") == stage.log.ops[:3]
    stage.require(right, "reported other ops than were fetched")


@story(
    "A fetch that wasn't answered is sent again on the next connection.",
    "after-a-lost-connection",
    "fetch",
)
async def fetches_again(stage: Stage) -> None:
    stage.more(2)
    link = await stage.join()
    await stage.fetch(2)
    await stage.next(link, "fetch")
    await link.cut()
    link = await stage.back()
    fetch = await stage.next(link, "fetch")
    page = stage.log.page(0, 2, stage.incarnation, link.join)
    await link.send({"type": "fetched", "id": fetch["id"], "seq": 2, **page})
    await stage.fetched()
