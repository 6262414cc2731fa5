"""Catching up: brings one client page after page from the store, until memory has the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from squire_gatherings._hall.clients import Client, Paging
from squire_gatherings._hall.store import read_page
from squire_gatherings._values.errors import StoreConflict, StoreUnavailable

if TYPE_CHECKING:
    from squire_gatherings._hall.delivery import Delivery


async def catch_up(delivery: Delivery, client: Client) -> None:
    """Bring a client what it lacks; ends when it has left.

    What it submits meanwhile is in the log like everything else, but isn't brought to it: the
    answer that tells it of its ops goes out where they would come.
    """
    with client.under_way():
        try:
            await _bring_pages(delivery, client)
        finally:
            client.paging = Paging.NO
        now = trio.current_time()
        held, client.held = client.held, None
        if held is not None:
            for seqs, answer in held:
                delivery.synced(client, seqs, answer, now)
            _no_longer_wait(client, len(held))
        delivery.bring(client, delivery.log.committed, now)


async def _bring_pages(delivery: Delivery, client: Client) -> None:
    window = client.window
    while True:
        client.paging = Paging.READING
        await trio.lowlevel.checkpoint()
        _answer_next(client)
        after, since = window.reached, trio.current_time()
        if after + 1 >= delivery.log.tail_start:
            return
        try:
            page = await read_page(
                delivery.store,
                delivery.gathering,
                after=after,
                up_to=_end(delivery, client),
                max_bytes=delivery.settings.batch_bytes,
            )
        except StoreUnavailable:
            await trio.sleep(delivery.settings.commit_retry_interval)
            continue
        finally:
            # What it says may wait behind what waits for the store.
            window.excuse(since, trio.current_time())
        if not page and _end(delivery, client) > after:
            raise StoreConflict(f"the store has no op {after + 1}")
        # Another answer may have come to wait meanwhile.
        page = page[: _end(delivery, client) - after]
        if page and client.attached:
            client.paging = Paging.SENDING
            client.send(delivery.forward(after + 1, page))
            delivery.sent(client, after + len(page), trio.current_time())
            await client.flush()


def _end(delivery: Delivery, client: Client) -> int:
    """Return how far the next page may go: up to the client's own ops."""
    held = client.held
    return held[0][0].start - 1 if held else delivery.log.committed


def _answer_next(client: Client) -> None:
    """Give the answers whose ops come next."""
    held, window = client.held or [], client.window
    answered = 0
    for seqs, answer in held:
        if window.reached < seqs.start - 1:
            break
        if window.reached < seqs.stop - 1:
            window.passed(seqs.stop - 1)
        client.answer(answer)
        answered += 1
    if answered:
        del held[:answered]
        _no_longer_wait(client, answered)


def _no_longer_wait(client: Client, count: int) -> None:
    client.waiting -= count
    client.make_room()
