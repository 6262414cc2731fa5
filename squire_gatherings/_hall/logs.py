"""Logs: what a program asks of whole logs, whether their gatherings are open or not."""

from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime
from itertools import pairwise

import trio
from attrs import define

from squire_gatherings._hall.archive import Archive, archive_of, archive_trouble
from squire_gatherings._hall.changed_logs import end_changed
from squire_gatherings._hall.closing import keeping_out
from squire_gatherings._hall.registry import Registry
from squire_gatherings._hall.travel import Past
from squire_gatherings._rules.export import Exporter, Importer
from squire_gatherings._values.archive import LogInfo, Tombstone
from squire_gatherings._values.checks import instant, point_in_log
from squire_gatherings._values.errors import (
    BadBase,
    StoreConflict,
    StoreUnavailable,
)
from squire_gatherings._values.ids import check_gathering_id

WATCH_INTERVAL = 2.0
"""How many seconds pass until a server looks again whether another program has changed logs."""

MOST_SLICES = 1000
"""Into how many slices `activity` divides a time at most."""


@define(eq=False)
class Logs:
    """The logs of a hall's store. Got as `Hall.logs`.

    No call here is activity, and none opens a gathering. A call that changes a log disperses its
    gathering first, with reason `admin`; joins wait meanwhile. Every call raises `StoreUnavailable`
    while the store can't serve it, and `BadRequest` if the store does no more than `Store` says.

    Every async method is a checkpoint. One that is cancelled before it began has done nothing; a
    change that has begun in the store is done, or not, as a whole.
    """

    _registry: Registry
    _wall: Callable[[], float]

    @property
    def _archive(self) -> Archive:
        """The store, if it knows whole logs. Raises `BadRequest`."""
        return archive_of(self._registry.store)

    async def list_logs(self, *, after: str = "", limit: int = 100) -> tuple[LogInfo, ...]:
        """Tell of logs, and of those that were deleted, in the order of their ids.

        Args:
            after: The id before the first one that is wanted.
            limit: How many at most.

        Cancellation: nothing happened.
        """
        with archive_trouble():
            return await self._archive.list_logs(after=after, limit=limit)

    async def describe(self, gathering_id: str) -> LogInfo | None:
        """Tell of one log; None if there is none, and none was deleted.

        Args:
            gathering_id: Its id.

        Raises:
            BadGatheringId: It can't be an id.

        Cancellation: nothing happened.
        """
        check_gathering_id(gathering_id)
        with archive_trouble():
            return await self._archive.describe(gathering_id)

    async def activity(
        self, gathering_id: str, *, since: datetime, until: datetime, slices: int = 100
    ) -> tuple[int, ...]:
        """Count the ops that were committed in each of equally long slices of a time.

        It reads a few rows only where there are ops, so a long log costs no more than a short one.

        Args:
            gathering_id: Its id. One without a log has no ops.
            since: When the first slice begins (with a time zone).
            until: When the last slice is over. An op of that very millisecond isn't counted.
            slices: How many slices, up to 1,000.

        Returns:
            How many ops, for each slice. Those that were left out by `compact` aren't counted.

        Raises:
            BadGatheringId: It can't be an id.
            ValueError: The time or the number of slices can't be one.

        Cancellation: nothing happened.
        """
        check_gathering_id(gathering_id)
        start, end = instant(since, "since"), instant(until, "until")
        if end <= start:
            raise ValueError("`until` must come after `since`")
        if not 1 <= slices <= MOST_SLICES:
            raise ValueError(f"there may be 1 to {MOST_SLICES} slices, not {slices}")
        archive = self._archive
        seqs = [0] * (slices + 1)

        async def look(edge: int) -> None:
            # Whoever is at the edge belongs to the slice that begins there.
            time = start + (end - start) * edge // slices - 1
            seqs[edge] = await archive.seq_at(gathering_id, time=time)

        with archive_trouble():
            await look(0)
            await look(slices)
            parts = [(0, slices)]
            while parts:
                first, last = parts.pop()
                if last - first == 1:
                    continue
                middle = (first + last) // 2
                if seqs[first] == seqs[last]:
                    seqs[first:last] = [seqs[first]] * (last - first)
                    continue
                await look(middle)
                parts += [(first, middle), (middle, last)]
        # The log may have been deleted and begun again meanwhile.
        return tuple(max(0, after - before) for before, after in pairwise(seqs))

    async def _existing(self, gathering_id: str) -> LogInfo:
        """Tell of a log. Raises `StoreConflict` if there is none."""
        info = await self.describe(gathering_id)
        if info is None or info.is_deleted:
            raise StoreConflict(f"there is no gathering {gathering_id}")
        return info

    async def export(self, gathering_id: str) -> AsyncIterator[bytes]:
        """Give a log as lines of JSON, as it was when this began; `import_log` takes them.

        Args:
            gathering_id: Its id.

        Yields:
            Line after line, each with its newline.

        Raises:
            BadGatheringId: It can't be an id.
            StoreConflict: There is no such log, or it was changed meanwhile.

        Cancellation: nothing more is read.
        """
        info = await self._existing(gathering_id)
        archive, exporter = self._archive, Exporter(info)
        with archive_trouble():
            older = await archive.older_syncs(gathering_id)
        for line in exporter.beginning(older):
            yield line
        after = info.first_seq - 1
        is_first = True
        while is_first or after < info.seq:
            with archive_trouble():
                page = await archive.read_links(
                    gathering_id,
                    after=0 if is_first else after,
                    # The snapshot in place of all ops would have the next seq.
                    up_to=max(info.seq, info.first_seq),
                    max_bytes=self._registry.settings.batch_bytes,
                )
            is_first = False
            page = tuple(link for link in page if link.last_seq <= info.seq)
            if not page:
                raise StoreConflict(f"{gathering_id} was changed while it was exported")
            for link in page:
                for line in exporter.link(link):
                    yield line
                after = link.last_seq
        yield exporter.end()

    async def import_log(self, lines: Iterable[bytes], *, gathering_id: str | None = None) -> int:
        """Take in a log that was exported, whole; nothing that is there is overwritten.

        Args:
            lines: What `export` gave; may be read on a worker thread.
            gathering_id: The id under which it is taken in; by default its own.

        Returns:
            Its last seq.

        Raises:
            BadExport: The lines aren't an exported log, or not all of it.
            BadGatheringId: It can't be an id.
            StoreConflict: There is a log of this id, or the chain doesn't hold.

        Cancellation: before it began, nothing happened; later, it is waited for.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        importer = Importer(iter(lines))
        gathering_id = gathering_id or importer.log.gathering
        check_gathering_id(gathering_id)
        async with keeping_out(self._registry, gathering_id):
            with archive_trouble():
                return await self._archive.adopt(importer.copy(gathering_id))

    async def delete(self, gathering_id: str) -> Tombstone | None:
        """Delete a log for good; a tombstone stays. `erase` removes what the file still has of it.

        The next join under this id begins a new log, whose chain goes on from the tombstone's head.
        A client that knew the old log is told `log_replaced`.

        Args:
            gathering_id: Its id.

        Returns:
            The tombstone; None if there was no log.

        Raises:
            BadGatheringId: It can't be an id.

        Cancellation: before it began, nothing happened; later, it is waited for.
        """
        check_gathering_id(gathering_id)
        await trio.lowlevel.checkpoint_if_cancelled()
        async with keeping_out(self._registry, gathering_id):
            with archive_trouble():
                return await self._archive.delete(gathering_id, time=round(self._wall() * 1000))

    async def compact(
        self, gathering_id: str, *, up_to: int | datetime, forget_syncs: bool = False
    ) -> int:
        """Leave out the ops up to a point; the state that they led to is kept in their place.

        What was appended together is left out together, or not: the point is the end of the last
        append by then.

        Args:
            gathering_id: Its id.
            up_to: The last seq that may be left out, or an instant (with a time zone).
            forget_syncs: Whether the ids of the syncs that are left out are forgotten, too. They
                name the users; without them, such a sync is applied again if it's repeated.

        Returns:
            The first seq that the log has now.

        Raises:
            BadGatheringId: It can't be an id.
            BadBase: The behaviour can't be taken back to that point.
            StoreConflict: There is no such log.
            ValueError: `up_to` can't be one.

        Cancellation: before it began, nothing happened; later, it is waited for.
        """
        check_gathering_id(gathering_id)
        seq, time = point_in_log(up_to)
        await trio.lowlevel.checkpoint_if_cancelled()
        registry, archive = self._registry, self._archive
        async with keeping_out(registry, gathering_id):
            info = await self._existing(gathering_id)
            with archive_trouble():
                if time is not None:
                    seq = await archive.seq_at(gathering_id, time=time)
                end = await archive.end_of_append(gathering_id, seq=min(seq or 0, info.seq))
            if end < info.first_seq:
                return info.first_seq
            past = Past(registry.store, gathering_id, info.first_seq, registry.settings.batch_bytes)
            state, _ = await past.state_at(end, registry.make_behaviour)
            with archive_trouble():
                return await archive.compact(
                    gathering_id, up_to=end, state=state, forget_syncs=forget_syncs
                )

    async def fork(
        self, gathering_id: str, new_id: str, *, at: int | datetime | None = None
    ) -> int:
        """Make a new gathering whose log is another one's up to a point; that one goes on.

        The new log keeps the chain of the other one; what is appended to it has its own id there.

        Args:
            gathering_id: The gathering that has the log.
            new_id: The new gathering's id.
            at: The seq, or the instant (with a time zone), up to which it goes; by default it
                has everything.

        Returns:
            The new log's last seq.

        Raises:
            BadBase: The log doesn't have that op, or not any more.
            BadGatheringId: It can't be an id.
            StoreConflict: There is no such log, or one of the new id.
            ValueError: `at` can't be one.

        Cancellation: before it began, nothing happened; later, it is waited for.
        """
        check_gathering_id(gathering_id)
        check_gathering_id(new_id)
        seq, time = (None, None) if at is None else point_in_log(at)
        await trio.lowlevel.checkpoint_if_cancelled()
        archive = self._archive
        async with keeping_out(self._registry, new_id):
            info = await self._existing(gathering_id)
            with archive_trouble():
                if time is not None:
                    seq = await archive.seq_at(gathering_id, time=time)
                    if seq < info.first_seq:
                        raise BadBase(f"{gathering_id} has nothing from before then")
                return await archive.fork(
                    gathering_id, new_id, seq=info.seq if seq is None else seq
                )

    async def look(self, *, asleep: bool = True) -> tuple[str, ...]:
        """Look whether another program has changed logs whose gatherings live; end those.

        They disperse with reason `admin`. (Otherwise they would do so at the next append.)

        Args:
            asleep: Whether to look also at those that sleep; else they are looked at as they wake.

        Returns:
            The ids of those that end.

        Cancellation: some may have been ended.
        """
        return await end_changed(self._registry, self._archive, asleep=asleep)

    async def watch(self, interval: float = WATCH_INTERVAL) -> None:
        """Look again and again whether another program has changed logs, until cancelled.

        Args:
            interval: Every how many seconds.

        Cancellation: it ends.
        """
        archive, seen = self._archive, -1
        while True:
            try:
                with archive_trouble():
                    number = await archive.changes()
                if number != seen:
                    # At the beginning those that sleep have just been read.
                    await self.look(asleep=seen != -1)
                seen = number
            except StoreUnavailable:
                # It looks again. Until then, gatherings that append are told.
                await trio.lowlevel.checkpoint()
            await trio.sleep(interval)

    async def erase(self) -> None:
        """Write the store's file anew, so that nothing is left in it of what was deleted.

        Nothing is committed meanwhile: about a second for each few hundred MiB.

        Cancellation: before it began, nothing happened; later, it is waited for.
        """
        with archive_trouble():
            await self._archive.erase()
