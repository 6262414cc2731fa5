"""Mutants: the Python client with one line replaced, each of which breaks a rule of the protocol.

The line must be there exactly once: a mutant that has become the client itself is none.
"""

from attrs import frozen

from tests.mutating import Change


@frozen
class Mutant(Change):
    """One broken client, and the story that finds it."""

    story: str
    see: str
    """The part of the protocol to which the finding points."""


MUTANTS: dict[str, Mutant] = {
    "joins without being first": Mutant(
        "_client.session",
        "                await wire.send(join)",
        "                from squire_gatherings._values.messages import Ack\n"
        "                await wire.send(Ack(0))\n"
        "                await wire.send(join)",
        "joins",
        "join",
    ),
    "joins twice": Mutant(
        "_client.session",
        "                await wire.send(join)",
        "                await wire.send(join)\n                await wire.send(join)",
        "submits",
        "join",
    ),
    "puts its token into the URL": Mutant(
        "_client.wire",
        "uri = address.uri(gathering_id)",
        'uri = address.uri(f"{gathering_id}?token=secret")',
        "joins",
        "join",
    ),
    "joins without its token": Mutant(
        "_client.session", "            token=token,", "            token=None,", "joins", "join"
    ),
    "leaves without a word": Mutant(
        "_client.wire", "        await socket.say_goodbye()", "        pass", "joins", "leave"
    ),
    "has another client id after a reconnect": Mutant(
        "_client.session",
        "client=self.client_id,",
        'client=f"{self.client_id}{trio.current_time()}",',
        "goes-on",
        "join",
    ),
    "forgets the client id that it was told": Mutant(
        "_client.session", "client=self.client_id,", "client=None,", "goes-on", "join"
    ),
    "forgets since": Mutant(
        "_client.session", "since=since or None,", "since=None,", "goes-on", "epochs"
    ),
    "forgets the epoch": Mutant(
        "_client.session",
        "epoch = (exchange.replica.epoch or None) if since else None",
        "epoch = None",
        "goes-on",
        "epochs",
    ),
    "takes the epoch of its connection for that of the op": Mutant(
        "_client.exchange",
        "return message.epoch if isinstance(message.epoch, str) else self.incarnation",
        "return self.incarnation",
        "keeps-the-epoch",
        "epochs",
    ),
    "forgets the proof": Mutant(
        "_client.session",
        "known=exchange.known if since else None,",
        "known=None,",
        "goes-on",
        "proofs",
    ),
    "never says that it comes by itself": Mutant(
        "_client.session",
        "resume=resume,",
        "resume=None,",
        "says-that-it-comes-by-itself",
        "join",
    ),
    "says that it comes by itself with something to submit": Mutant(
        "_client.session",
        "resume = None if exchange.is_waiting else self._resume",
        "resume = self._resume",
        "says-that-it-wants-something",
        "join",
    ),
    "never acknowledges": Mutant(
        "_client.exchange",
        "self._ack_at = min(self._ack_at, trio.current_time() + self._ack_delay)",
        "self._ack_at = math.inf",
        "acknowledges",
        "ack",
    ),
    "acknowledges what it doesn't have": Mutant(
        "_client.exchange",
        "return Ack(self.replica.seq)",
        "return Ack(self.replica.seq + 1)",
        "acknowledges",
        "ack",
    ),
    "applies a repeated forward twice": Mutant(
        "_rules.replica",
        "        new = self.seq + 1 - first",
        "        new = 0",
        "ignores-what-it-has",
        "forward",
    ),
    "applies out of order": Mutant(
        "_rules.replica",
        "if first > self.seq + 1:",
        "if False:",
        "takes-nothing-out-of-order",
        "forward",
    ),
    "takes only the first op of a batch": Mutant(
        "_client.incoming",
        "return ForwardBatch(self.seq, self.by, self.ops, self.epoch, self.times, self.syncs)",
        "return ForwardBatch(self.seq, self.by[:1], self.ops[:1], self.epoch)",
        "takes-batches",
        "forward",
    ),
    "sends a base that it doesn't have": Mutant(
        "_rules.replica",
        "Pending(Sync(sync_id, self.seq, ops), submitted_at)",
        "Pending(Sync(sync_id, self.seq + 1, ops), submitted_at)",
        "submits",
        "sync",
    ),
    "sends more ops than it may": Mutant(
        "_client.requests",
        "if self.max_ops is not None and len(ops) > self.max_ops:",
        "if False:",
        "keeps-to-the-limit",
        "joined",
    ),
    "ignores what was logged instead": Mutant(
        "_client.exchange",
        "logged = synced.ops if isinstance(synced.ops, tuple) else None",
        "logged = None",
        "takes-what-was-logged",
        "forward",
    ),
    "treats a conflict as success": Mutant(
        "_client.exchange",
        "self.requests.refused(conflict.id, OpConflict(why))",
        "self.requests.synced(conflict.id, (1,)); self.replica.failed(conflict.id)",
        "takes-a-conflict",
        "sync",
    ),
    "doesn't send again what wasn't answered": Mutant(
        "_client.requests",
        "self.queue.put(self.replica.pending)",
        "self.queue.put(())",
        "repeats-what-was-not-answered",
        "after-a-lost-connection",
    ),
    "sends it again with a new id": Mutant(
        "_client.requests",
        "request = self.fetch_of(request_id) if pending is None else pending.sync",
        "request = Sync(secrets.token_hex(8), pending.sync.base, pending.sync.ops)",
        "repeats-what-was-not-answered",
        "sync",
    ),
    "sends again what was answered": Mutant(
        "_rules.replica",
        "pending = self.pending.pop(sync_id, None)",
        "pending = self.pending.get(sync_id)",
        "repeats-nothing-that-was-answered",
        "after-a-lost-connection",
    ),
    "reports its own ops as others'": Mutant(
        "_rules.replica",
        "if own and seq in own:",
        "if False:",
        "knows-its-own-ops",
        "forward",
    ),
    "tells its own ops by the name": Mutant(
        "_rules.replica",
        "if own and seq in own:",
        "if by == self.identity.user:",
        "knows-its-own-ops",
        "forward",
    ),
    "forgets that what was put off may be applied": Mutant(
        "_client.requests",
        "        self.queue.repeat(request_ids, now)",
        "        for one in request_ids:\n"
        "            self.replica.pending[one].sent = False\n"
        "        self.queue.repeat(request_ids, now)",
        "knows-its-own-ops-that-were-put-off",
        "forward",
    ),
    "takes a change of presence for the whole": Mutant(
        "_client.presence",
        "            users = known | users",
        "            users = users",
        "knows-who-is-here",
        "presence-2",
    ),
    "forgets its presence when it comes back": Mutant(
        "_client.presence",
        "        self.view, self._version, self._said = None, 0, None",
        "        self.view, self._version, self._said, self.state = None, 0, None, None",
        "knows-who-is-here",
        "presence-2",
    ),
    "sends again at once what can't be taken now": Mutant(
        "_client.queue",
        "self._repeat_at = min(self._repeat_at, now + self.repeat_interval)",
        "self._repeat_at = now",
        "repeats-when-the-store-is-away",
        "error",
    ),
    "gives up where the server is overloaded": Mutant(
        "_client.answers",
        "    StoreUnavailable.code,\n",
        "",
        "repeats-when-the-store-is-away",
        "error",
    ),
    "takes no hint where an error has no id": Mutant(
        "_client.requests",
        "            if sent:",
        "            if False:",
        "finds-out-what-an-error-is-about",
        "sync",
    ),
    "sends again what is too big": Mutant(
        "_client.requests",
        "if code == CloseCode.TOO_BIG and",
        "if False and",
        "sends-nothing-again-that-is-too-big",
        "sync",
    ),
    "reconnects without a pause": Mutant(
        "_client.session",
        "        await trio.sleep_until(due)",
        "        await trio.lowlevel.checkpoint()",
        "backs-off",
        "pauses",
    ),
    "comes back when it was put out": Mutant(
        "_client.session",
        "elif lost.code == CloseCode.UNAUTHORIZED:",
        "elif False:",
        "stays-out-when-put-out",
        "close-codes",
    ),
    "comes back when it was replaced": Mutant(
        "_client.session",
        "elif lost.code == CloseCode.REPLACED:",
        "elif False:",
        "gives-way",
        "close-codes",
    ),
    "ignores dispersed": Mutant(
        "_client.session",
        "            if isinstance(message, Dispersed):\n"
        "                return check_notice(message, self.gathering_id)\n"
        "            self._understand",
        "            if isinstance(message, Dispersed):\n"
        "                continue\n"
        "            self._understand",
        "leaves-it-asleep",
        "dispersed",
    ),
    "reconnects after dispersed": Mutant(
        "_client.session",
        "        self.asleep = not exchange.is_waiting",
        "        self.asleep = False",
        "leaves-it-asleep",
        "dispersed",
    ),
    "comes back after a reason that it doesn't know": Mutant(
        "_client.session",
        "and ending.reason not in COMES_BACK:",
        "and ending.reason in list(DispersalReason):",
        "takes-an-unknown-reason-for-idle",
        "dispersed",
    ),
    "keeps its ops when the log is another one": Mutant(
        "_rules.replica",
        "        self.start_over()\n        self._own.clear()",
        "        self.seq, self.epoch = 0, None\n        self._own.clear()",
        "begins-anew",
        "forward",
    ),
    "takes a log that is behind": Mutant(
        "_client.contradictions",
        "    if joined.seq < has:",
        "    if False:",
        "notices-a-log-that-is-behind",
        "epochs",
    ),
    "hangs up over an unknown message": Mutant(
        "_client.incoming",
        "if _unknown.decode(text).type not in _KNOWN:",
        "if False:",
        "ignores-unknown-messages",
        "compatibility",
    ),
    "dies of an unknown message": Mutant(
        "_client.incoming",
        "if _unknown.decode(text).type not in _KNOWN:\n                return None",
        "if _unknown.decode(text).type not in _KNOWN:\n                __import__('os')._exit(3)",
        "ignores-unknown-messages",
        "what-a-client-sends",
    ),
    "hangs up over unknown fields": Mutant(
        "_client.incoming",
        'class _Forward(msgspec.Struct, tag="forward", tag_field="type"):',
        "class _Forward(\n"
        '    msgspec.Struct, tag="forward", tag_field="type", forbid_unknown_fields=True\n'
        "):",
        "ignores-unknown-fields",
        "compatibility",
    ),
}
