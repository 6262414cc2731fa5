"""Catching up: brings one onlooker page after page from the store, until memory has the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from squire_gatherings._hall.senders import Onlooker, Paging
from squire_gatherings._hall.store import read_page
from squire_gatherings._values.errors import StoreConflict, StoreUnavailable

if TYPE_CHECKING:
    from squire_gatherings._hall.delivery import Delivery


async def catch_up(delivery: Delivery, onlooker: Onlooker) -> None:
    """Bring an onlooker what it lacks; ends when it has left.

    What it submits meanwhile is in the log like everything else, but isn't brought to it: the
    answer that tells it of its ops goes out where they would come.
    """
    with onlooker.under_way():
        try:
            await _bring_pages(delivery, onlooker)
        finally:
            onlooker.paging = Paging.NO
        now = trio.current_time()
        held, onlooker.held = onlooker.held, None
        if held is not None:
            for seqs, answer in held:
                delivery.synced(onlooker, seqs, answer, now)
            _no_longer_wait(onlooker, len(held))
        delivery.let_go(onlooker)
        delivery.bring(onlooker, delivery.log.committed, now)


async def _bring_pages(delivery: Delivery, onlooker: Onlooker) -> None:
    window = onlooker.window
    while True:
        onlooker.paging = Paging.READING
        await trio.lowlevel.checkpoint()
        _answer_next(onlooker)
        delivery.let_go(onlooker)
        after, since = window.reached, trio.current_time()
        if after + 1 >= delivery.log.tail_start:
            return
        try:
            page = await read_page(
                delivery.store,
                delivery.gathering,
                after=after,
                up_to=_end(delivery, onlooker),
                max_bytes=delivery.settings.batch_bytes,
            )
        except StoreUnavailable:
            await trio.sleep(delivery.settings.commit_retry_interval)
            continue
        finally:
            # What it says may wait behind what waits for the store.
            window.excuse(since, trio.current_time())
        if not page and _end(delivery, onlooker) > after:
            raise StoreConflict(f"the store has no op {after + 1}")
        # Another answer may have come to wait meanwhile.
        page = page[: _end(delivery, onlooker) - after]
        if page and onlooker.attached:
            onlooker.paging = Paging.SENDING
            onlooker.send(delivery.forward(after + 1, page))
            delivery.sent(onlooker, after + len(page), trio.current_time())
            await onlooker.flush()


def _end(delivery: Delivery, onlooker: Onlooker) -> int:
    """Return how far the next page may go: up to the onlooker's own ops."""
    held = onlooker.held
    return held[0][0].start - 1 if held else delivery.log.committed


def _answer_next(onlooker: Onlooker) -> None:
    """Give the answers whose ops come next."""
    held, window = onlooker.held or [], onlooker.window
    answered = 0
    for seqs, answer in held:
        if window.reached < seqs.start - 1:
            break
        if window.reached < seqs.stop - 1:
            window.passed(seqs.stop - 1)
        onlooker.answer(answer)
        answered += 1
    if answered:
        del held[:answered]
        _no_longer_wait(onlooker, answered)


def _no_longer_wait(onlooker: Onlooker, count: int) -> None:
    onlooker.waiting -= count
    onlooker.make_room()
