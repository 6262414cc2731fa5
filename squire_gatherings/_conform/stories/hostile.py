"""Stories of servers that are later versions, broken, or hostile: a client lives through them."""

from typing import Any

from squire_gatherings._conform.links import Link
from squire_gatherings._conform.stage import Stage
from squire_gatherings._conform.story import story


@story("A message of an unknown type is ignored, and the connection lives.", "compatibility")
async def ignores_unknown_messages(stage: Stage) -> None:
    link = await stage.join()
    unknown: list[dict[str, Any]] = [
        {"type": "of_a_later_version", "seq": 1, "id": "x"},
        {"type": "", "op": {}},
        {"type": "Forward", "seq": 99},
    ]
    for message in unknown:
        await link.send(message, *stage.others(link))
    await stage.acked(link, 3)


@story("Unknown fields are ignored, in every message.", "compatibility")
async def ignores_unknown_fields(stage: Stage) -> None:
    more: dict[str, Any] = {"of_a_later_version": {"a": [1, None]}, "ops_": [], "x": 1.5}
    link = await stage.join(**more)
    await link.send(*(message | more for message in stage.others(link)))
    await stage.acked(link, 1)
    submission = await stage.submit()
    sync = await stage.sync(link, submission)
    messages = [*stage.others(link), stage.apply(link, sync), *stage.others(link)]
    stage.more(2)
    messages.append(stage.forward(link, 5, 6))
    await link.send(*(message | more for message in messages))
    await stage.applied(submission, [3])
    await stage.acked(link, 6)
    refused = await stage.submit()
    sync = await stage.sync(link, refused)
    await link.send(stage.error("rejected", link, sync) | more)
    await stage.refused(refused, "rejected")
    await link.close(4001, "idle", after=link.payload(stage.dispersed("idle") | more))
    await stage.ended("idle")
    await stage.nobody_comes("came back, though nothing was to be done")


@story("An answer to something that a client didn't ask is ignored.", "compatibility")
async def ignores_answers_to_nothing(stage: Stage) -> None:
    link = await stage.join()
    submission = await stage.submit()
    sync = await stage.sync(link, submission)
    nobody = {"id": "nobody-asked"}
    await link.send(
        {"type": "synced", "seqs": [1], **nobody},
        {"type": "conflict", "seq": 0, "ops": [], "by": [], **nobody},
        {"type": "fetched", "seq": 0, "ops": [], "by": [], **nobody},
        {"type": "error", "code": "rejected", "message": "nobody asked", **nobody},
        {"type": "refreshed", "role": "member", **nobody},
        stage.apply(link, sync),
        *stage.others(link),
    )
    await stage.applied(submission, [1])
    await stage.acked(link, 2)


@story("`refreshed` without an id changes the role, and nothing else.", "refreshed")
async def takes_another_role(stage: Stage) -> None:
    link = await stage.join()
    await link.send({"type": "refreshed", "role": "judge"}, *stage.others(link))
    await stage.acked(link, 1)


@story(
    "After what can't be understood the connection is of no more use: the client comes back.",
    "nonsense",
)
async def survives_nonsense(stage: Stage) -> None:
    link = await stage.join()
    for nonsense in _nonsense(stage, link):
        await link.send(*stage.others(link))
        await stage.seen(stage.log.seq)
        await link.send_bytes(nonsense)
        again = await stage.back()
        link.release()
        link = again


def _nonsense(stage: Stage, link: Link) -> list[bytes]:
    """Return frames that no server may send."""
    contradictions: list[dict[str, Any]] = [
        {"type": "forward", "seq": -1, "by": None, "op": {}},
        {"type": "forward", "seq": 2, "by": ["bob"], "ops": [{}, {}]},
        {"type": "forward", "seq": "2", "by": "bob", "op": {"n": 2}},
        {"type": "forward", "seq": 2, "by": "bob", "op": [1]},
        {
            "type": "dispersed",
            "gathering": "another",
            "incarnation": "i",
            "reason": "idle",
            "seq": 0,
            "idle_for": 1.0,
        },
    ]
    # Bytes that begin an object, or a map, which doesn't end.
    cut_off = b'{"type": "forw' if stage.encoding.is_text else b"\x82\xa4type"
    return [
        *(link.payload(message) for message in contradictions),
        link.frame(cut_off),
        link.payload([1, 2, 3]),
        link.frame(b"\xff\xfe"),
        # A frame of an opcode that nobody has given a meaning.
        b"\x8b\x00",
    ]


@story(
    "An answer that can't be the answer to this join ends the attempt, and not the client.",
    "nonsense",
)
async def survives_a_false_welcome(stage: Stage) -> None:
    stage.more(2)
    link = await stage.join()
    falsehoods: list[dict[str, Any]] = [
        {"gathering": "another"},
        {"seq": -1},
        {"ops": [{}], "by": [None, None]},
        {"incarnation": ""},
    ]
    for one in falsehoods:
        await link.cut()
        link = await stage.arrive()
        await stage.let_in(link, **one)
        again = await stage.back()
        link.release()
        link = again
        # Something good came of it: pauses are short again.
        await link.send(*stage.others(link))
        await stage.seen(stage.log.seq)
