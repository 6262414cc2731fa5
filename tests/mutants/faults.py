"""The faults, by what is wrong with them."""

from attrs import frozen

from tests.mutating import Change


@frozen
class Fault(Change):
    """One mutant, and the tests that find it."""

    tests: tuple[str, ...]
    """What pytest is given, below `tests`. The first one that fails is enough."""


def _fault(module: str, old: str, new: str, *tests: str) -> Fault:
    return Fault(module, old, new, tests)


AT_RANDOM = "hall/test_whole_lives.py"

FAULTS: dict[str, Fault] = {
    # What SquireCore's attempt got wrong.
    "a retry counts as activity": _fault(
        "_hall.retries",
        "                window.rescheduled(now)",
        "                window.rescheduled(now)\n                self.room.used(now)",
        "hall/test_retries.py",
        "hall/test_deadline.py",
    ),
    "what is acknowledged and what isn't are mixed up": _fault(
        "_rules.delivery_window",
        "        if seq <= self.acked:\n            return",
        "        if seq > self.acked:\n            return",
        "rules/test_delivery_window.py",
    ),
    "only some of it acknowledged counts as all": _fault(
        "_rules.delivery_window",
        "        if self.owed > seq:",
        "        if self.owed < seq:",
        "rules/test_delivery_window.py",
    ),
    "the author is sent its own ops again": _fault(
        "_hall.delivery",
        "            window.passed(last)",
        "            self._sent(client, last, now)",
        "hall/test_retries.py",
        "hall/test_delivery_at_random.py",
    ),
    "the onlooker isn't sent again what it lacks": _fault(
        "_hall.delivery",
        "                window.forwarded(up_to, now)\n",
        "                window.passed(up_to)\n",
        "hall/test_retries.py",
    ),
    "the end is looked for now and then, not when it is due": _fault(
        "_hall.running",
        "        due = min(room.deadline.next_at, commit.retry_at)",
        "        due = min(room.deadline.next_at, commit.retry_at) // 60 * 60 + 60",
        "hall/test_deadline.py",
    ),
    "retries are looked for as seldom as clients are given up": _fault(
        "_hall.delivery",
        "            self._arm(now + min(settings.retry_interval, settings.retry_limit))",
        "            self._arm(now + max(settings.retry_interval, settings.retry_limit))",
        "hall/test_retries.py",
    ),
    "hall and gathering wait for each other": _fault(
        "_hall.running",
        "                if room.nursery.child_tasks:",
        "                while room.is_awaited:\n"
        "                    await trio.sleep(1)\n"
        "                if room.nursery.child_tasks:",
        "hall/test_dispersal.py",
    ),
    "the inbox is thrown away at the end, with a join in it": _fault(
        "_hall.joining",
        "        except GatheringDispersed:\n            return None",
        "        except ZeroDivisionError:\n            return None",
        "hall/test_dispersal.py",
    ),
    "who asked at the end gets no answer": _fault(
        "_hall.answers",
        "        for caller in self.room.callers or ():\n            caller.fail(ended)",
        "        for caller in ():\n            caller.fail(ended)",
        "hall/test_one_answer.py",
        "hall/test_dispersal.py",
    ),
    "a send in the actor has no limit": _fault(
        "_hall.notice",
        "    with trio.CancelScope(deadline=until, shield=True):",
        "    with trio.CancelScope(shield=True):",
        "hall/test_dispersal.py",
    ),
    "the actor waits for each client that it tells the end": _fault(
        "_hall.notice",
        "    with trio.CancelScope(deadline=until, shield=True):\n"
        "        async with trio.open_nursery() as nursery:\n"
        "            for client in slow:\n"
        "                nursery.start_soon(client.flush)\n",
        "    for client in slow:\n"
        "        with trio.CancelScope(deadline=until + 1000, shield=True):\n"
        "            await client.flush()\n",
        "hall/test_dispersal.py",
    ),
    "completed syncs are forgotten at a restart": _fault(
        "_rules.op_log",
        "        self.syncs.restore(restored.recent, restored.has_older)",
        "        self.syncs.restore((), False)",
        "hall/test_commits.py",
    ),
    # Colyseus: a room is disposed while somebody joins (532, 555), joins end in the wrong order
    # (633), who is there is counted wrongly (717).
    "who has gone before it was let in comes in all the same": _fault(
        "_hall.admission",
        "        if request.abandoned:\n            return\n",
        "",
        "hall/test_joining.py",
    ),
    "a room that is done with stays in the list": _fault(
        "_hall.registry",
        "        incarnation = self.living.pop(gathering_id)",
        "        incarnation = self.living[gathering_id]",
        "hall/test_dispersal.py",
    ),
    "one that is asked for something ends as empty meanwhile": _fault(
        "_hall.room",
        "        if not (self.processed or self.is_wanted or self.inbox.waiting):",
        "        if not (self.processed or self.is_wanted):",
        "hall/test_end_rules.py",
    ),
    "two who go at once are counted as one": _fault(
        "_hall.room",
        "        self.quotas.users.leave(client.identity.user)\n",
        "",
        "hall/test_quotas.py",
        "server/test_limits.py",
    ),
    # Hocuspocus: the old one's last work is done when the new one is there (893), and a document
    # is served before it is loaded (821).
    "the next incarnation is opened before the last one is gone": _fault(
        "_hall.opening",
        "        elif incarnation is None:\n",
        "        elif incarnation is None or (\n"
        "            incarnation.opened and not incarnation.room.accepting\n"
        "        ):\n",
        "hall/test_dispersal.py",
        AT_RANDOM,
    ),
    "one is found before it is restored": _fault(
        "_hall.opening",
        "        elif not incarnation.opened:\n            await incarnation.wait_opened()",
        "        elif not incarnation.opened:\n            return incarnation.room",
        "hall/test_joining.py",
        "hall/test_dispersal.py",
    ),
    "one that has slept is found before it is restored": _fault(
        "_hall.opening",
        "            if not incarnation.room.is_resting:\n",
        "            if True:\n",
        "hall/test_sleeping.py",
    ),
    # Orleans: messages are forwarded to the activation that is just ending (7637).
    "a request goes to the one that is just ending": _fault(
        "_hall.opening",
        "        elif incarnation.room.accepting:\n",
        "        elif incarnation.opened:\n",
        "hall/test_dispersal.py",
    ),
    "a sync that comes after the end goes nowhere": _fault(
        "_hall.membership",
        "        if isinstance(message, Sync) and not client.was_crashed:",
        "        if isinstance(message, Sync) and client.was_crashed:",
        "hall/test_changed_rights.py",
    ),
    # Akka.NET: two of the same entity (6973), and what waits for a start is lost (8572).
    "two openings at once make two of one gathering": _fault(
        "_hall.opening",
        "        elif incarnation is None:\n",
        "        elif incarnation is None or not incarnation.opened:\n",
        "hall/test_joining.py",
        "hall/test_dispersal.py",
    ),
    "a crash throws away what others have asked": _fault(
        "_hall.turns",
        "        del inbox.waiting[:taken]",
        "        del inbox.waiting[:]",
        "hall/test_turns.py",
        "hall/test_dispersal.py",
        AT_RANDOM,
    ),
    # The end.
    "the end is reckoned from the opening": _fault(
        "_rules.deadline",
        "            at = self.last_processed_at + rules.idle_timeout\n",
        "            at = self.opened_at + rules.idle_timeout\n",
        "hall/test_deadline.py",
    ),
    "the end comes before what holds it is over": _fault(
        "_rules.deadline",
        "        return max(at, self.extended_to, self._held_to)",
        "        return min(at, max(self.extended_to, self._held_to))",
        "rules/test_deadline.py",
    ),
    "it ends although a message has just come": _fault(
        "_hall.hearing",
        "    if room.inbox.waiting or room.reason is not None or answers.reading:",
        "    if room.reason is not None or answers.reading:",
        "hall/test_deadline.py",
        "hall/test_late_timers.py",
        "hall",
    ),
    "while a fetch is being read, the end goes round in circles": _fault(
        "_hall.running",
        "        elif gathering.answers.reading:\n            await inbox.wait()\n",
        "",
        "hall/test_deadline.py",
        "hall/test_one_answer.py",
    ),
    "what had arrived before a late end isn't read": _fault(
        "_hall.hearing",
        "        while client.read_arrived() and not room.inbox.waiting:",
        "        while False:",
        "server/test_late_timers.py",
        "hall/test_late_timers.py",
    ),
    "messages still come in after the notice": _fault(
        "_hall.notice",
        "    room.accepting = False\n",
        "",
        "hall/test_changed_settings.py",
    ),
    "the end is told twice": _fault(
        "_hall.parting",
        "    if gathering.room.notice is None:\n",
        "    if True:\n",
        "hall/test_dispersal.py",
    ),
    "whoever was told the end is still in it": _fault(
        "_hall.notice",
        "        room.detach(client)\n",
        "",
        "hall/test_joining.py",
    ),
    "an end that is put off comes all the same": _fault(
        "_hall.hearing",
        "    if not (room.is_due() and room.deadline.is_final):",
        "    if False:",
        "hall/test_end_rules.py",
    ),
    "the answers that are owed at the end are given as if nothing were lost": _fault(
        "_hall.answers",
        "            if isinstance(sender, Caller):\n                sender.fail(lost)",
        "            if isinstance(sender, Caller):\n                sender.fail(ended)",
        "hall/test_dispersal.py",
        "hall/test_one_answer.py",
    ),
    "who comes back isn't told of the end that it missed": _fault(
        "_hall.registry",
        "            self.endings.remember(room.notice)",
        "            pass",
        "hall/test_dispersal.py",
        "hall/test_epochs.py",
        "hall",
    ),
    "a wait for a late incarnation isn't woken": _fault(
        "_hall.incarnations",
        "        self.gone = True\n        self.fell_asleep()",
        "        self.fell_asleep()",
        "hall/test_dispersal.py",
    ),
    # The commit.
    "it is acknowledged before it is durable": _fault(
        "_hall.gathering",
        "            if self.commit.begin(now):\n                self._committed(now)",
        "            self.commit.begin(now)\n            self._committed(now)",
        "hall/test_commits.py",
    ),
    "a commit that fails throws the answers away": _fault(
        "_hall.answers",
        "        self.deferred = [one for one in deferred if one.keep]",
        "        self.deferred = None",
        "hall/test_commits.py",
    ),
    "a commit that fails isn't tried again": _fault(
        "_hall.commit",
        "            self.retry_at = now + room.settings.commit_retry_interval",
        "            self.retry_at = math.inf",
        "hall/test_commits.py",
    ),
    "a retry of a commit counts as activity": _fault(
        "_hall.commit",
        "is no activity.\n                room.used(now)\n            else:",
        "is no activity.\n"
        "                room.used(now)\n"
        "            else:\n"
        "                room.used(now)",
        "hall/test_commits.py",
    ),
    "an outcome counts for another append": _fault(
        "_hall.commit",
        "        if number != self._number or not self.is_under_way:",
        "        if not self.is_under_way:",
        "hall/test_commits.py",
    ),
    "an outcome that comes twice counts twice": _fault(
        "_hall.commit",
        "        if number != self._number or not self.is_under_way:",
        "        if number != self._number:",
        "hall/test_commits.py",
    ),
    "what isn't durable is shown while the store is away": _fault(
        "_hall.answers",
        "        return log.seq if self.room.trouble is None else log.committed",
        "        return log.seq",
        "hall/test_one_answer.py",
        "hall/test_joining.py",
        "hall",
    ),
    "a sync that isn't durable is confirmed when it is repeated": _fault(
        "_hall.requests",
        "            if room.trouble is not None and record.first_seq > log.committed:",
        "            if False:",
        "hall/test_commits.py",
    ),
    "a sync is taken while the store is away": _fault(
        "_hall.requests",
        '        if room.trouble is not None:\n            raise StoreUnavailable(f"not taken',
        '        if False:\n            raise StoreUnavailable(f"not taken',
        "hall/test_commits.py",
    ),
    "a sync that is repeated is applied again": _fault(
        "_hall.requests",
        "        if record is not None:\n            log.same",
        "        if False:\n            log.same",
        "hall/test_commits.py",
    ),
    "an id that is used again confirms other ops": _fault(
        "_hall.requests",
        "            log.same(record, sync)\n",
        "",
        "hall/test_commits.py",
    ),
    "the store isn't asked about old syncs": _fault(
        "_rules.sync_ids",
        "                raise LookupNeeded\n            if seen",
        "                return None\n            if seen",
        "rules/test_sync_ids.py",
        AT_RANDOM,
    ),
    "syncs that memory forgets count as new": _fault(
        "_rules.sync_ids",
        "            self._see()\n            for key in tuple",
        "            for key in tuple",
        "rules/test_sync_ids.py",
    ),
    "a message that waits for the store is taken for processed": _fault(
        "_hall.turns",
        "    except LookupNeeded:\n        taken -= 1",
        "    except LookupNeeded:\n        taken -= 0",
        "hall/test_commits.py",
    ),
    "a turn has no end": _fault(
        "_hall.turns",
        "            if answers.spent + log.added > limit:",
        "            if False:",
        "hall/test_turns.py",
    ),
    "a sync that crashed its gathering crashes the next": _fault(
        "_hall.requests",
        "        if room.refused and key in room.refused:",
        "        if False:",
        "hall/test_behaviours.py",
    ),
    # Delivery.
    "an answer overtakes the ops before it": _fault(
        "_hall.delivery",
        "            if window.reached < before:\n                self._hold",
        "            if False:\n                self._hold",
        "hall/test_catching_up.py",
        "hall/test_delivery_at_random.py",
    ),
    "retries come in ever the same interval": _fault(
        "_rules.delivery_window",
        "        self._interval *= 2\n",
        "",
        "rules/test_delivery_window.py",
        "hall/test_retries.py",
    ),
    "who never acknowledges is never given up": _fault(
        "_rules.delivery_window",
        "        if now >= self.give_up_at:\n            return Verdict.GIVE_UP\n",
        "",
        "rules/test_delivery_window.py",
    ),
    "who acknowledges is given up all the same": _fault(
        "_rules.delivery_window",
        "            self._begin(now)\n            return\n        # The ops",
        "            return\n        # The ops",
        "rules/test_delivery_window.py",
        "hall/test_retries.py",
    ),
    "a client is given up for what waits in the inbox": _fault(
        "_hall.retries",
        "            if self._is_unheard(client, has_more=has_more):",
        "            if False:",
        "hall/test_retries.py",
        "hall/test_lateness.py",
        "hall",
    ),
    "a crowd that isn't served in one turn is forgotten": _fault(
        "_hall.delivery",
        "        behind.extend(some)\n",
        "",
        "hall/test_delivery.py",
        AT_RANDOM,
        "hall/test_delivery_at_random.py",
    ),
    "two connections of one client are both in": _fault(
        "_hall.room",
        '            other.close(CloseCode.REPLACED, "replaced by a newer connection")\n',
        "",
        "hall/test_joining.py",
    ),
    "an older connection takes the place of a newer one": _fault(
        "_hall.room",
        "            if 0 < client.asked < other.asked:",
        "            if 0 < other.asked < client.asked:",
        "hall/test_joining.py",
    ),
    # Rights.
    "what was asked is processed though the rights have ended": _fault(
        "_hall.requests",
        "        if sender.identity.expires_at is not None and self.room.terms.have_ended(sender):",
        "        if False:",
        "hall/test_rights.py",
        "hall/test_changed_rights.py",
        "hall/test_rights_at_random.py",
    ),
    "a join that was under way has the rights of before": _fault(
        "_hall.admission",
        "        client.identity = sender.identity\n",
        "",
        "hall/test_changed_rights.py",
        "hall/test_rights_at_random.py",
    ),
    "a sync is passed on with rights that it hasn't any more": _fault(
        "_hall.asking",
        "        if self._rights.has_changed(client):",
        "        if False:",
        "hall/test_changed_rights.py",
        "hall/test_rights_at_random.py",
        "hall/test_dispersal.py",
    ),
    # Sleep, and moves.
    "one that is at work falls asleep": _fault(
        "_hall.gathering",
        "            and self.at_work() is None\n",
        "",
        "hall/test_commits.py",
    ),
    "one for which somebody waits falls asleep": _fault(
        "_hall.registry",
        "            or incarnation.is_awaited\n        ):",
        "        ):",
        "hall/test_sleeping.py",
        "hall",
    ),
    "a sleep puts the end off": _fault(
        "_rules.deadline",
        "        self.last_processed_at = state.last_processed_at + ahead",
        "        self.last_processed_at = state.moved[2] + ahead + 1",
        "hall/test_sleeping.py",
    ),
    "one that wakes answers before the store has forgotten that it slept": _fault(
        "_hall.waking",
        "            await sleep.struck(gathering)\n",
        "",
        "hall/test_sleeping.py",
        "stores/test_sleep.py",
        "hall",
    ),
    "one that sleeps is roused by nobody at its end": _fault(
        "_hall.sleepers",
        "        elif room.is_due():\n            # It hears everybody out, and ends.\n",
        "        elif False:\n            # It hears everybody out, and ends.\n",
        "hall/test_sleeping.py",
    ),
    "the end that a client missed while it slept is another's": _fault(
        "_hall.incarnations",
        "        if notice.gathering != gathering or notice.reason in _COME_BACK:",
        "        if notice.reason in _COME_BACK:",
        "hall/test_epochs.py",
        "hall/test_dispersal.py",
        "hall",
    ),
}
