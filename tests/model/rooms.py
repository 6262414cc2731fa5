"""Rooms: what one incarnation does, from one checkpoint to the next."""

from collections.abc import Iterator

from attrs import frozen

from squire_gatherings._rules.op_log import OpLog, fingerprint
from squire_gatherings._values.log import LoggedOp, Restored, SyncRecord
from squire_gatherings._values.op import Op
from tests.model.base import Base
from tests.model.checker import replaced, without
from tests.model.truths import must
from tests.model.world import IDLE, Append, Request, Room, Slept, Sync, World

Steps = Iterator[tuple[str, World]]

OPS = tuple((Op.of({"n": number}),) for number in range(8))
MARKS = tuple(fingerprint(ops) for ops in OPS)


@frozen
class Rooms(Base):
    """Messages, commits, ends and sleeps of rooms."""

    def _room(self, world: World, place: int, gathering: int) -> Steps:
        room = world.rooms[place][gathering]
        assert room is not None
        name = f"{gathering} at {place}"
        mine = self._append_of(world, place, gathering)
        if room.inbox and not room.is_committing:
            yield f"{name}: a turn", self._turn(world, place, gathering, room)
            if world.budget.booms:
                budget = world.budget._replace(booms=world.budget.booms - 1)
                after = self._ended(world._replace(budget=budget), place, gathering, room)
                yield f"{name}: its behaviour crashes", after
        if room.is_committing and mine is not None and mine.result:
            yield (
                f"{name}: its append was {mine.result}",
                self._outcome(world, place, gathering, room, mine),
            )
        if room.is_in_trouble and not room.is_committing:
            yield f"{name}: it tries again", self._commit(world, place, gathering, room)
        is_idle = self.has("ends with messages unread") or not room.inbox
        shows = self.may_show(world.nodes[place])
        if self.is_due(room) and is_idle and not room.is_committing and shows:
            must(world.used[gathering] >= IDLE, "it ends too early")
            must(not room.inbox, "it ends, and somebody has said something")
            yield f"{name}: it ends", self._ended(world, place, gathering, room)
        if world.budget.ends and not (room.inbox or room.is_committing) and shows:
            budget = world.budget._replace(ends=world.budget.ends - 1)
            after = self._ended(world._replace(budget=budget), place, gathering, room)
            yield f"{name}: the program ends it", after
        at_rest = not (room.inbox or room.added or room.deferred or room.is_committing)
        if self.has("falls asleep at work"):
            at_rest = not (room.inbox or room.is_committing)
        if world.budget.sleeps and at_rest and not room.is_asleep and shows:
            budget = world.budget._replace(sleeps=world.budget.sleeps - 1)
            after = self._asleep(world._replace(budget=budget), place, gathering, room)
            yield f"{name}: it falls asleep", after

    def log_of(self, room: Room) -> OpLog:
        """Return the log as the room has it."""
        records: list[SyncRecord] = []
        for seq, (client, message) in enumerate(room.known, start=1):
            mark = MARKS[message]
            records.append(SyncRecord(str(client), str(message), seq, 1, mark))
        recent = () if self.has("forgets completed syncs") and not room.added else tuple(records)
        log = OpLog(10**6, 100)
        ops = tuple(LoggedOp(OPS[message][0].json, None) for _, message in room.known)
        log.restore(Restored(seq=len(ops), ops=ops, recent=recent))
        for client, message in room.added:
            key = (str(client), str(message))
            log.add(OPS[message], key=key, mark=MARKS[message], by=None)
        return log

    def _turn(self, world: World, place: int, gathering: int, room: Room) -> World:
        """Process what has arrived, without a checkpoint, and begin to commit what came of it."""
        stored = world.stored[gathering]
        if room.is_asleep:
            # It wakes: it is restored, and the store forgets that it slept.
            if stored.epoch != room.epoch:
                return self._ended(world, place, gathering, room)
            room = room._replace(is_asleep=False, known=stored.log)
            stored = stored._replace(slept=None)
            world = world._replace(stored=replaced(world.stored, gathering, stored))
        log = self.log_of(room)
        used = False
        for request in room.inbox:
            client, message = request.client, request.message
            if message is None:
                used = True
                if room.added and not room.is_in_trouble:
                    room = room._replace(deferred=(*room.deferred, request))
                else:
                    world, room = self._attached(world, place, room, request)
                continue
            used = True
            record = log.syncs.find((str(client), str(message)))
            is_refused = record is None and world.clients[client].is_out
            must(not is_refused, "an op of somebody without rights is applied")
            if record is None and not room.is_in_trouble:
                key, mark = (str(client), str(message)), MARKS[message]
                record = log.add(OPS[message], key=key, mark=mark, by=None)
                room = room._replace(added=(*room.added, (client, message)))
            if record is None or (room.is_in_trouble and record.first_seq > log.committed):
                # The store is away: it is told to ask again.
                world = self._unsaid(world, request)
            else:
                room = room._replace(deferred=(*room.deferred, request))
        room = room._replace(inbox=())
        if used:
            room = room._replace(age=0)
            world = self._used(world, gathering, room)
        if room.added and not room.is_in_trouble:
            world = self._commit(world, place, gathering, room)
            if self.has("acknowledges before it is durable"):
                found = world.rooms[place][gathering]
                assert found is not None
                return self._given(world, place, gathering, found)
            return world
        return self._given(world, place, gathering, room)

    def _commit(self, world: World, place: int, gathering: int, room: Room) -> World:
        append = self.log_of(room).append(str(gathering))
        syncs = tuple((int(one.scope), int(one.id)) for one in append.syncs)
        node = (place, world.nodes[place].generation)
        sent = Append(node, gathering, room.epoch, append.first_seq, syncs)
        world = world._replace(appends=tuple(sorted((*world.appends, sent))))
        if self.has("a retry of ours counts") and room.is_in_trouble:
            room = room._replace(age=0)
        return self._with_room(world, place, gathering, room._replace(is_committing=True))

    def _outcome(
        self, world: World, place: int, gathering: int, room: Room, append: Append
    ) -> World:
        world = world._replace(appends=without(world.appends, append))
        if append.result == "taken":
            return self._ended(world, place, gathering, room)
        if not room.is_in_trouble:
            room = room._replace(age=0)
            world = self._used(world, gathering, room)
        if append.result == "failed":
            kept: list[Request] = []
            for request in room.deferred:
                if (request.client, request.message) in room.added:
                    kept.append(request)
                elif request.message is None:
                    # It is told `store_unavailable`, and its connection ends.
                    world = self._refused(world, request)
                else:
                    world = self._unsaid(world, request)
            room = room._replace(deferred=tuple(kept), is_in_trouble=True, is_committing=False)
            return self._with_room(world, place, gathering, room)
        log = self.log_of(room)
        log.commit()
        room = room._replace(
            known=(*room.known, *room.added), added=(), is_committing=False, is_in_trouble=False
        )
        must(log.committed == len(room.known), "the log counts wrongly")
        return self._given(world, place, gathering, room)

    def _given(self, world: World, place: int, gathering: int, room: Room) -> World:
        """Give the answers that waited, unless the lease is over: then they wait on."""
        world = self._with_room(world, place, gathering, room)
        if not self.may_show(world.nodes[place]):
            return world
        stored = world.stored[gathering]
        rest: list[Request] = []
        for request in room.deferred:
            if request.message is None:
                world, room = self._attached(world, place, room, request)
                continue
            sync: Sync = (request.client, request.message)
            if sync in room.added and not self.has("acknowledges before it is durable"):
                rest.append(request)
                continue
            me = world.clients[request.client]
            if (request.client, request.connection) not in room.clients:
                continue
            seq = (*room.known, *room.added).index(sync) + 1
            must(stored.log[seq - 1 : seq] == (sync,), "acknowledged, and not durable")
            must(request.message in me.sent, "answered, and nobody asked")
            acked = tuple(sorted({*me.acked, (request.message, seq)}))
            must(len({message for message, _ in acked}) == len(acked), "two seqs for a sync")
            sent = tuple(one for one in me.sent if one != request.message)
            me = me._replace(acked=acked, sent=sent)
            world = self._with_client(world, request.client, me)
        return self._with_room(world, place, gathering, room._replace(deferred=tuple(rest)))

    def _attached(
        self, world: World, place: int, room: Room, request: Request
    ) -> tuple[World, Room]:
        """Somebody is let in, if it hasn't gone meanwhile."""
        me = world.clients[request.client]
        must((me.at, me.connection) == (place, request.connection), "lets in who has gone")
        room = room._replace(clients=(*room.clients, (request.client, request.connection)))
        return self._with_client(world, request.client, me._replace(is_in=True)), room

    def _unsaid(self, world: World, request: Request) -> World:
        """A client is told that a sync wasn't taken: it says it again."""
        me = world.clients[request.client]
        if me.connection != request.connection:
            return world
        sent = tuple(one for one in me.sent if one != request.message)
        return self._with_client(world, request.client, me._replace(sent=sent))

    def _refused(self, world: World, request: Request) -> World:
        me = world.clients[request.client]
        if me.connection == request.connection:
            me = me._replace(at=None, is_in=False, sent=())
        return self._with_client(world, request.client, me)

    def _ended(self, world: World, place: int, gathering: int, room: Room) -> World:
        """An end: everybody is told; whoever asked asks the next one."""
        world = self._with_room(world, place, gathering, None)
        told = {*room.clients, *((one.client, one.connection) for one in room.inbox)}
        told |= {(one.client, one.connection) for one in room.deferred}
        if self.has("drops the inbox at the end"):
            told = {*room.clients}
        for client, me in enumerate(world.clients):
            if me.at == place and (client, me.connection) in told:
                gone = me._replace(at=None, is_in=False, sent=())
                world = self._with_client(world, client, gone)
        stored = world.stored[gathering]
        if stored.owner == (place, world.nodes[place].generation) and stored.epoch == room.epoch:
            stored = stored._replace(owner=None, slept=None)
            world = world._replace(stored=replaced(world.stored, gathering, stored))
        return world

    def _asleep(self, world: World, place: int, gathering: int, room: Room) -> World:
        """It falls asleep, and the store knows; one that was taken away ends."""
        stored = world.stored[gathering]
        if stored.epoch != room.epoch:
            return self._ended(world, place, gathering, room)
        stored = stored._replace(slept=Slept(room.age))
        room = room._replace(is_asleep=True, known=(), added=(), deferred=(), is_in_trouble=False)
        world = world._replace(stored=replaced(world.stored, gathering, stored))
        return self._with_room(world, place, gathering, room)

    def _append_of(self, world: World, place: int, gathering: int) -> Append | None:
        node = (place, world.nodes[place].generation)
        for append in world.appends:
            if (append.node, append.gathering) == (node, gathering):
                return append
        return None
