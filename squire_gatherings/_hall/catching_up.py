"""Catching up: brings one client page after page from the store, until memory has the rest."""

import math
from collections.abc import Callable

import trio

from squire_gatherings._hall.archive import read_shown
from squire_gatherings._hall.clients import Client, Paging
from squire_gatherings._hall.forwards import forward_of
from squire_gatherings._hall.room import Room
from squire_gatherings._values.errors import LogDeleted, StoreUnavailable
from squire_gatherings._values.log import syncs_between


async def bring_pages(
    room: Room, client: Client, sent: Callable[[Client, int, float], None]
) -> None:
    """Bring a client what only the store has, and the answers whose ops lie among it.

    `sent` is called with the client, the seq up to which it was sent ops, and the time.

    Raises `LogDeleted` if the store hasn't these ops any more: another program has left them out.

    Cancellation: what was sent was sent; the rest isn't.
    """
    window = client.window
    while True:
        client.paging = Paging.READING
        await trio.lowlevel.checkpoint()
        if not room.may_show:
            await trio.sleep(room.settings.commit_retry_interval)
            continue
        if room.terms.due < math.inf:
            room.terms.look()
        if client.is_mute:
            return
        _answer_next(client)
        room.let_go(client)
        after, since = window.reached, trio.current_time()
        if after + 1 >= room.log.tail_start:
            return
        try:
            shown = await read_shown(
                room.store,
                room.id,
                after=after,
                up_to=_end(room, client),
                max_bytes=room.settings.batch_bytes,
                syncs=client.extras.syncs,
            )
        except StoreUnavailable:
            await trio.sleep(room.settings.commit_retry_interval)
            continue
        finally:
            # What the client says may wait behind what waits for the store.
            window.excuse(since, trio.current_time())
        if not room.may_show:
            continue
        if not shown.ops and _end(room, client) > after:
            raise LogDeleted(f"the store has no op {after + 1} any more")
        # Another answer may have come to wait meanwhile.
        page = shown.ops[: _end(room, client) - after]
        if page and client.attached and not client.is_mute:
            client.paging = Paging.SENDING
            last = after + len(page)
            syncs = syncs_between(shown.syncs, after, last)
            client.send(forward_of(room.incarnation, after + 1, page, client.extras, syncs))
            sent(client, last, trio.current_time())
            await client.flush()


def _end(room: Room, client: Client) -> int:
    """Return how far the next page may go: up to the client's own ops."""
    held = client.held
    return held[0][0].start - 1 if held else room.log.committed


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
        client.processed(answered)
