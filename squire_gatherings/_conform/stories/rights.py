"""Stories of rights that end, for clients that have another token."""

from squire_gatherings._conform.stage import Stage
from squire_gatherings._conform.story import story


@story("`renew` is answered with a `refresh`, by another token.", "renew", "renew")
async def renews_its_rights(stage: Stage) -> None:
    link = await stage.join(rights_expire_in=60.0)
    await link.send({"type": "renew", "rights_expire_in": 60.0})
    refresh = await stage.next(link, "refresh")
    answer = {"type": "refreshed", "id": refresh["id"], "role": "member"}
    await link.send(answer | {"rights_expire_in": 3600.0}, *stage.others(link))
    await stage.acked(link, 1)


@story(
    "A sync that is `unauthorized` is sent again, once the rights are renewed.", "rights", "renew"
)
async def repeats_once_its_rights_are_renewed(stage: Stage) -> None:
    link = await stage.join(rights_expire_in=3600.0)
    submission = await stage.submit()
    sync = await stage.sync(link, submission)
    await link.send(stage.error("unauthorized", link, sync))
    refresh = await stage.next(link, "refresh")
    answer = {"type": "refreshed", "id": refresh["id"], "role": "member"}
    await link.send(answer | {"rights_expire_in": 3600.0})
    again = await stage.sync(link, submission)
    await link.send(stage.apply(link, again))
    await stage.applied(submission, [1])
