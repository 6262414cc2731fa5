"""Stories of presence, for clients that can be shown among those who are here."""

from typing import Any

from squire_gatherings._conform.room import USER, Message
from squire_gatherings._conform.stage import Stage
from squire_gatherings._conform.story import story

MOOD = {"mood": "calm"}


def _here(version: int, *users: str, **more: Any) -> Message:
    shown = [{"user": user, "connections": 1, "state": MOOD} for user in users]
    count = more.pop("count", len(users))
    whole = {"type": "presence", "version": version, "count": count, "anonymous": 1}
    return whole | {"users": shown} | more


async def _sees(stage: Stage, *users: str) -> None:
    def is_there() -> bool:
        views = stage.subject.all("presence")
        return bool(views) and sorted(views[-1]["users"]) == sorted(users)

    await stage.witness.report(is_there, f"didn't report that {', '.join(users)} are here")


@story(
    "Who is here is told as a whole, and then by what has changed; each connection begins anew.",
    "presence-2",
    "presence",
)
async def knows_who_is_here(stage: Stage) -> None:
    await stage.order_join(presence=MOOD)
    link = await stage.back()
    for number in range(2):
        said = link.join.get("presence")
        stage.require(said == MOOD, f"joined with the presence {said!r}, and is to be {MOOD}")
        await link.send(_here(7, USER, "bob"))
        await _sees(stage, USER, "bob")
        await link.send(_here(8, "carol", since=7, gone=["bob"], count=2))
        await _sees(stage, USER, "carol")
        await link.send(_here(9 + number, USER))
        await _sees(stage, USER)
        await link.cut()
        link = await stage.back()


@story(
    "Presence is no activity, and nothing of it is acknowledged.",
    "presence-2",
    "presence",
)
async def acknowledges_no_presence(stage: Stage) -> None:
    await stage.order_join(presence=MOOD)
    link = await stage.back()
    await link.send(_here(1, USER, "bob"))
    await _sees(stage, USER, "bob")
    await stage.silence(link, "sent an `ack`, and no op has come", ("ack", "sync", "presence"))
