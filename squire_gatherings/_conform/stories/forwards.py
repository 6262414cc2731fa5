"""Stories of forwards: what others do comes once, in order, and is acknowledged."""

from typing import Any

import trio
from websockets.frames import Opcode

from squire_gatherings._conform.rules import ACKS, EACH_ONCE
from squire_gatherings._conform.stage import Stage
from squire_gatherings._conform.story import story


@story("A client acknowledges what it was forwarded, at most 100 ms after it came.", "ack")
async def acknowledges(stage: Stage) -> None:
    stage.more(2)
    link = await stage.join()
    for _ in range(3):
        await link.send(*stage.others(link, 2))
        await stage.acked(link, stage.log.seq)


@story("One `ack` is for all that came: it isn't sent for each op.", "ack")
async def acknowledges_many_at_once(stage: Stage) -> None:
    link = await stage.join()
    await link.send(*stage.others(link, 200))
    count = 0
    while link.acked < 200:
        await stage.acked(link, link.acked + 1)
        count += 1
    stage.require(count <= 100, f"sent {count} acknowledgements for 200 ops at once", ACKS)


@story("A seq that a client has is ignored, however often it comes.", "forward")
async def ignores_what_it_has(stage: Stage) -> None:
    stage.more(2)
    link = await stage.join()
    [third, fourth] = stage.others(link, 2)
    await link.send(third, third, fourth, third, fourth)
    await stage.acked(link, 4)
    await link.send(stage.forward(link, 3, 4), fourth, third)
    await link.send(*stage.others(link))
    await stage.seen(5)


@story("A forward may bring several ops, some of which the client has.", "forward")
async def takes_batches(stage: Stage) -> None:
    link = await stage.join()
    stage.more(2, "bob")
    stage.more(3, None)
    stage.more(2, "zoe")
    await link.send(stage.forward(link, 1, 3), stage.forward(link, 2, 6), stage.forward(link, 7, 7))
    await stage.acked(link, 7)


@story("Seqs have no hole: a client takes no op before those that it lacks.", "forward")
async def takes_nothing_out_of_order(stage: Stage) -> None:
    link = await stage.join()
    await link.send(*stage.others(link, 2))
    await stage.seen(2)
    stage.more(3)
    await link.send(stage.forward(link, 5))
    link.told = 2
    again = await stage.arrive()
    link.release()
    since = again.join.get("since")
    stage.require(since == 2, f"came back with `since` {since}, and has 2 ops", EACH_ONCE)
    await stage.let_in(again)
    await stage.seen(5)


@story("A message may come in many frames, with pings between them, which are answered.", "frames")
async def takes_fragments(stage: Stage) -> None:
    link = await stage.join()
    ping = link.frame(b"are you there?", opcode=Opcode.PING)
    for sizes in ([0, 1, 1], [1] * 20, [0, 0, 0]):
        [message] = stage.others(link)
        await link.send_bytes(link.in_parts(message, sizes, ping))
    await stage.acked(link, 3)
    stage.require(link.pongs > 0, "answered no ping")


@story("Bytes may come one at a time.", "frames")
async def takes_bytes_one_at_a_time(stage: Stage) -> None:
    link = await stage.join()
    data = link.payload(*stage.others(link, 2))
    for at in range(len(data)):
        await link.send_bytes(data[at : at + 1])
        if at % 16 == 0:
            await trio.sleep(0.001)
    await stage.acked(link, 2)


@story("A message from the server may have 256 KiB of ops, and a snapshot more.", "limits")
async def takes_large_messages(stage: Stage) -> None:
    link = await stage.join()
    filler = "x" * 1000
    ops: list[dict[str, Any]] = [stage.op(filler=filler) for _ in range(220)]
    stage.log.append(ops, "bob", stage.incarnation, sync_id="large")
    await link.send(stage.forward(link, 1, 220))
    await stage.acked(link, 220)


@story("Numbers, text and depth come as JSON says, in both encodings.", "ops")
async def keeps_ops_as_they_are(stage: Stage) -> None:
    link = await stage.join()
    deep: Any = "bottom"
    for _ in range(120):
        deep = [deep]
    ops: list[dict[str, Any]] = [
        {"n": 1, "zero": 0, "minus": -1, "large": 2**53 - 1, "half": 0.5, "tiny": 5e-324},
        {"n": 2, "": "empty key", "text": '\u0000\u001f"\\/ é 漢 😀 \u2028', "none": None},
        {"n": 3, "deep": deep, "list": [], "object": {}, "bools": [True, False]},
    ]
    stage.log.append(ops, None, stage.incarnation, sync_id="odd")
    await link.send(*(stage.forward(link, seq) for seq in (1, 2, 3)))
    await stage.acked(link, 3)
