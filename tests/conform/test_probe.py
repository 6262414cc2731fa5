"""The probe of docs/protocol.md: it shows that the way in works, and keeps nothing alive."""

import trio

from tests.server.raw import RawClient
from tests.ways_in.ways import Way, every_way, serving


def probe(url: str) -> None:
    with RawClient(f"{url}/gatherings/friday-night") as client:
        client.say(type="ping", id="p1")
        answer = client.hear()
        assert (answer["type"], answer["code"], answer["id"]) == ("error", "unknown_type", "p1")


@every_way
async def test_it_opens_nothing_and_moves_no_deadline(way: Way) -> None:
    async with serving(way) as (hall, server, url):
        await trio.to_thread.run_sync(probe, url)
        await server.wait_empty()
        assert hall.gatherings() == ()
        await hall.submit("friday-night", [{}])
        [before] = hall.gatherings()
        await trio.to_thread.run_sync(probe, url)
        await server.wait_empty()
        assert hall.gatherings() == (before,)
