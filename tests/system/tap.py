"""The tap: watches one connection, and checks all that the server says there.

A client's message counts when the server has received it, a server's message when it is sent: so an
acknowledgement must be true when it leaves.
"""

import math
from collections import deque
from typing import Any

import trio
from attrs import define, field

from tests.schema import validator
from tests.system.book import state_of
from tests.system.ends import EPSILON, RULES, WALL_EPSILON
from tests.system.frames import CLOSE, MESSAGES, PACKED, Frames, understand
from tests.system.life import Life
from tests.system.link import WatchedLink
from tests.system.logs import Key, Log, Logged
from tests.system.presence import Seen
from tests.system.truth import Truth

LOST_TURN = ("store_unavailable", "crashed", "hall_closed", "rate_limited", "dispersed")
"""Errors after which a client may send a sync again; other syncs may have come first."""

FAIR = (*LOST_TURN, "rejected", "forbidden", "unauthorized", "replaced", "join_first")
"""Errors that a client may get though it does nothing wrong."""

SERVER_MESSAGES = validator("server")

LATE = 0.1
"""A timer that fires so many seconds late doesn't count as late: streams are read afterwards."""

CODES = dict.fromkeys((*RULES, "admin"), 4001) | {"shutdown": 1001, "crashed": 1011}
"""The close code for each reason."""


@define
class Asked:
    """A request, and how it was answered on this connection."""

    message: dict[str, Any]
    times: int = 0
    finals: int = 0
    put_off: int = 0


@define(eq=False)
class Tap:
    """What is known of one connection."""

    truth: Truth
    link: WatchedLink
    number: int
    gathering: str = ""
    join: dict[str, Any] | None = None
    joined: dict[str, Any] | None = None
    life: Life | None = None
    log: Log | None = None
    """The log that it has joined."""
    reached: int = 0
    """The seq of the last op that the client was sent, or was told in an answer."""
    asked: dict[str, Asked] = field(factory=dict)
    seen: Seen = field(factory=Seen)
    joined_at: float = math.inf
    warning: tuple[str, float, float] | None = None
    """The rule of the end of which the client was told last, if that stands, and between which two
    times it is: the message may have been sent before the machine fell asleep."""
    rights_end: tuple[float, float] | None = None
    """When its rights end by the wall clock, if they do, and when the client was told that."""
    notice: dict[str, Any] | None = None
    closed: int | None = None
    """The code of the server's close frame."""
    over_at: float = math.inf
    """The first moment at which the server could know that this connection has ended."""
    is_honest: bool = True
    """Whether the client says only what it takes to be right."""
    is_blind: bool = False
    """Whether the client sends what can't be understood."""
    is_gone: bool = False
    """Whether the server has closed its end."""
    _sent: Frames = field(factory=Frames)
    _unread: deque[float] = field(factory=deque)
    """The times at which messages were sent that the server hasn't received."""
    _up: Frames = field(factory=Frames)
    _down: Frames = field(factory=Frames)

    def __attrs_post_init__(self) -> None:
        self.link.up.put = self.sent
        self.link.up.taken = self.from_client
        self.link.down.put = self.from_server
        self.link.server_left = self.server_left
        self.link.ended = self.over

    @property
    def name(self) -> str | None:
        """Whose connection it is: one with another's name takes its place."""
        return self.join.get("client") if self.join else None

    @property
    def is_stuck(self) -> bool:
        """Whether some of what the server said may not have gone out."""
        return self.link.down.was_full

    @property
    def _is_packed(self) -> bool:
        """Whether the client speaks MessagePack."""
        return self._sent.head is not None and PACKED.encode() in self._sent.head

    @property
    def is_in(self) -> bool:
        """Whether the client is in the gathering, as far as the server knows."""
        return self.joined is not None and self.over_at == math.inf and self.closed is None

    @property
    def is_doubtful(self) -> bool:
        """Whether the server may know more about it than we do."""
        return self.is_blind or self.is_stuck or self.link.troubled

    @property
    def is_unheard(self) -> bool:
        """Whether a message that the client sent before now lies unread."""
        if not self._unread or not self.is_in or self.is_doubtful or self.link.is_relayed:
            return False
        if self.truth.now() == self.truth.jumped_at:
            return self._unread[0] <= self.truth.jumped_from
        return self._unread[0] < self.truth.now()

    def over(self) -> None:
        """Note that the server can know from now on that this connection has ended."""
        now, life = trio.current_time(), self.life
        is_living = life is not None and life is self.truth.lives.get(life.gathering)
        if life is not None and is_living:
            life.client_goes(now)
        self.over_at = min(self.over_at, now)
        if life is not None and is_living:
            life.gone_from = max(life.gone_from, self.over_at)

    def server_left(self) -> None:
        """Note that the server has closed its end."""
        self.is_gone = True
        # A close frame may be under way when the machine falls asleep. When the machine wakes up,
        # the frame's time to go out is over.
        is_fair = not self.is_in or self.is_doubtful or self.truth.now() == self.truth.jumped_at
        self.truth.check(is_fair, f"{self}: dropped, and nothing was wrong with it")
        self.over()
        self.truth.visited(self.gathering)

    # What the client says.

    def sent(self, data: bytes) -> None:
        """Take what the client has sent."""
        if not self.is_blind:
            for opcode, _ in self._sent.feed(data):
                if opcode in MESSAGES:
                    self._unread.append(self.truth.now())

    def from_client(self, data: bytes) -> None:
        """Take what the server has received."""
        if self.is_blind:
            self.truth.used(self.gathering)
            return
        for opcode, payload in self._up.feed(data):
            if opcode in MESSAGES:
                self._heard(payload)
            elif opcode == CLOSE:
                self.over()
        if not self.gathering and self._up.head is not None:
            path = self._up.head.split(b" ")[1]
            self.gathering = path.rpartition(b"/")[2].decode("latin-1")

    def _heard(self, payload: bytes) -> None:
        self._unread.popleft()
        if not self.gathering and self._up.head is not None:
            self.gathering = self._up.head.split(b" ")[1].rpartition(b"/")[2].decode("latin-1")
        self.truth.used(self.gathering)
        try:
            message = understand(payload, packed=self._is_packed)
        except ValueError:
            return
        if not isinstance(message, dict):
            return
        kind = message.get("type")
        if kind == "join" and self.join is None:
            self.join = message
            self.seen.asks = "presence" in message
        elif kind == "presence":
            self.seen.asks = True
        elif kind == "leave" and self.join is not None:
            # The server may have let it in already: that is seen later, where it's relayed.
            self.over()
        elif kind == "ack" and self._is_sure and message["seq"] <= len(self._ops_there):
            self.truth.used(self.gathering, surely=True)
        elif kind in ("sync", "fetch") and isinstance(message.get("id"), str):
            asked = self.asked.setdefault(message["id"], Asked(message))
            asked.times += 1

    @property
    def _log(self) -> Log:
        return self.log or self.truth.logs.now[self.gathering]

    @property
    def _ops_there(self) -> list[Logged]:
        return self._log.ops

    @property
    def _is_sure(self) -> bool:
        """Whether what happens here reaches the living incarnation at once."""
        life = self.truth.lives.get(self.gathering)
        if life is None or life is not self.life or not self.is_in or self.link.down.was_full:
            return False
        return not (life.appending or life.reading or life.in_trouble or life.is_ending)

    # What the server says.

    def from_server(self, data: bytes) -> None:
        """Take what the server has sent."""
        for opcode, payload in self._down.feed(data):
            is_late = opcode in (*MESSAGES, CLOSE) and self.closed is not None
            self.truth.check(not is_late, f"{self}: said after its close frame: {payload!r}")
            if opcode in MESSAGES:
                message = understand(payload, packed=self._is_packed)
                is_right = SERVER_MESSAGES.is_valid(message)
                self.truth.check(is_right, f"{self}: the schema doesn't know {message}")
                self._said(message)
            elif opcode == CLOSE:
                self._closed(payload)

    def _closed(self, payload: bytes) -> None:
        self.over()
        self.closed = int.from_bytes(payload[:2], "big") if payload else 1005
        if self.notice is None:
            is_evicted = self.gathering in self.truth.closed and payload[2:] == b"evicted"
            is_fair = self.joined is None or self.closed not in CODES.values() or is_evicted
            self.truth.check(is_fair, f"{self}: closed {self.closed} without a notice")
            self.truth.happened["evicted"] += is_evicted
        else:
            # It may have broken the protocol before the notice came.
            codes = (CODES[self.notice["reason"]], *([1002] if self.is_blind else []))
            self.truth.check(self.closed in codes, f"{self}: closed {self.closed} after a notice")

    def _said(self, message: dict[str, Any]) -> None:
        if self.is_blind and self.join is None:
            # The client sent nonsense before the server had read its join.
            return
        check = self.truth.check
        check(self.notice is None, f"{self}: said after the notice: {message}")
        kind = message["type"]
        if self.joined is None:
            check(kind in ("joined", "error", "dispersed"), f"{self}: before joining: {message}")
            check(self.join is not None or kind == "error", f"{self}: to nobody: {message}")
        match kind:
            case "joined":
                self._joined(message)
            case "forward":
                self._forward(message)
            case "synced":
                self._synced(message)
            case "fetched":
                self._fetched(message)
            case "conflict":
                self._conflict(message)
            case "error":
                self._error(message)
            case "dispersed":
                self._dispersed(message)
            case "ending":
                self._warned(message)
            case "presence":
                wrong = self.seen.take(message)
                check(wrong is None, f"{self}: {wrong}: {message}")
                self.truth.happened["presence"] += 1
            case "refreshed" | "renew":
                check(self.joined is not None, f"{self}: before joining: {message}")
                self._told_rights(message)
            case _:
                self.truth.fault(f"{self}: an unknown message: {message}")

    def _joined(self, message: dict[str, Any]) -> None:
        check = self.truth.check
        check(self.joined is None, f"{self}: joined twice")
        check(message["gathering"] == self.gathering, f"{self}: {message} from elsewhere")
        self.joined, self.joined_at = message, self.truth.now()
        self._told_rights(message)
        self._meet(message["incarnation"])
        log = self.log = self._log_that(message)
        check(message["seq"] <= len(log.ops), f"{self}: {message} shows what isn't durable")
        assert self.join is not None
        since = self.join.get("since")
        is_known = self._knows(log) or (since or 0) < log.first_seq - 1
        check(is_known, f"{self}: joined a log that isn't the one it knows: {self.join}")
        if "snapshot" in message:
            state = state_of(log.keys(message["seq"]))
            check(message["snapshot"] == state, f"{self}: a wrong state: {message}")
            self.reached = message["seq"]
        elif self.join.get("tail") and since is None:
            check(message["ops"] == [], f"{self}: what it didn't want: {message}")
            self.reached = message["seq"]
        else:
            self.reached = self._beginning(message, since or 0) - 1
            self._ops(message, self.reached + 1)
        self._check_told(message["incarnation"])
        is_activity = self.join.get("resume") is None
        self.truth.used(self.gathering, surely=is_activity and not self.link.down.was_full)
        life = self.life
        if life is not None and life is self.truth.lives.get(life.gathering):
            self._check_expiry(life, message["expires_in"], is_activity=is_activity)

    def _check_told(self, incarnation: str) -> None:
        """Check that the store knows of an incarnation before anybody is let in."""
        events = self.truth.events
        if events is not None:
            events.let_in.add(incarnation)
            kinds = events.kinds(incarnation)
            is_known = kinds[:1] == ["opened"] and "joined_first" in kinds
            self.truth.check(is_known, f"{self}: let in to {incarnation}, and durable is {kinds}")

    def _log_that(self, message: dict[str, Any]) -> Log:
        """Return the log of the incarnation; if it may be either of two, the one that fits."""
        life = self.life
        if life is None or not life.is_doubtful:
            return self._log if life is None else life.log
        logs = (life.log, *self.truth.logs.all_of(self.gathering))
        return next((one for one in logs if self._fits(one, message)), life.log)

    def _fits(self, log: Log, message: dict[str, Any]) -> bool:
        if message["seq"] > len(log.ops):
            return False
        if "snapshot" in message:
            return bool(message["snapshot"] == state_of(log.keys(message["seq"])))
        assert self.join is not None
        first = message.get("first_seq", (self.join.get("since") or 0) + 1)
        there = [one.op for one in log.ops[first - 1 : first - 1 + len(message["ops"])]]
        return bool(there == message["ops"] and self._knows(log))

    def _knows(self, log: Log) -> bool:
        """Whether what the client says that it has is in this log."""
        assert self.join is not None
        since, epoch = self.join.get("since") or 0, self.join.get("epoch")
        if not since or epoch is None:
            return True
        return since <= len(log.ops) and log.ops[since - 1].epoch == epoch

    def _beginning(self, message: dict[str, Any], since: int) -> int:
        """Return the first seq in an answer to one that has `since`; check what it says of it."""
        first = max(since + 1, self._log.first_seq) if self._is_current else since + 1
        said = message.get("first_seq", since + 1)
        is_right = said == first or not self._is_current
        self.truth.check(is_right, f"{self}: begins with {said}, not {first}: {message}")
        return int(said)

    @property
    def _is_current(self) -> bool:
        """Whether nothing has become of the log since the incarnation lived."""
        life = self.life
        return life is not None and life is self.truth.lives.get(self.gathering)

    def _check_expiry(self, life: Life, expires_in: float, *, is_activity: bool) -> None:
        now = trio.current_time()
        self.truth.check(expires_in >= 0, f"{self}: expires in {expires_in}: {life}")
        if self.link.down.was_full or self.truth.jumped_at >= now:
            return
        if life.is_put_off or life.is_doubtful:
            return
        if self.link.is_relayed and life.changed_at >= now:
            # It was said before its rules were changed.
            return
        if not is_activity and life.used_from >= now:
            # Other clients hear of the events of one instant in another order.
            return
        ends = life.earliest(self.truth.ahead())
        least = min(at for rule, at in ends.items() if rule not in ("empty", "unjoined")) - now
        most = max(life.rules.idle_timeout, 0.0)
        fits = max(0.0, least) - WALL_EPSILON <= expires_in <= most + EPSILON
        self.truth.check(fits, f"{self}: expires in {expires_in}, not {least}: {life}")

    def _meet(self, incarnation: str) -> None:
        """Find the incarnation."""
        life = self.truth.meet(self.gathering, incarnation)
        if life is None or life.gathering != self.gathering:
            self.truth.fault(f"{self}: {incarnation} is another's: {life}")
            return
        self.life = life
        life.clients.append(self)
        if self.over_at < math.inf:
            life.gone_from = max(life.gone_from, self.over_at)

    def _ops(self, message: dict[str, Any], first: int, *, by: Any = None) -> int:
        """Check the ops in a message; return the seq of the last."""
        ops = message["ops"] if "ops" in message else [message["op"]]
        names = message["by"] if isinstance(message["by"], list) else [message["by"]]
        log = self._ops_there
        last = first + len(ops) - 1
        check = self.truth.check
        check(last <= len(log), f"{self}: shows what isn't durable: {message}")
        there = log[first - 1 : last]
        check([one.op for one in there] == ops, f"{self}: {message}, not {there}")
        check([one.by for one in there] == names, f"{self}: {message}, not by {there}")
        if ops and there and "epoch" not in message:
            incarnation = (self.joined or message).get("incarnation")
            check(there[-1].epoch == incarnation, f"{self}: {message} has epoch {there[-1].epoch}")
        elif ops and there:
            check(there[-1].epoch == message["epoch"], f"{self}: {message}, not {there[-1]}")
        self._check_syncs(message, there)
        self.reached = max(self.reached, last) if first <= self.reached + 1 else self.reached
        return last

    def _check_syncs(self, message: dict[str, Any], there: list[Logged]) -> None:
        """Check that who asks is told which syncs these ops came from, and nobody else is."""
        said = message.get("syncs")
        if "sync" in message:
            said = [message["sync"]]
        expected: list[list[Any]] | None = None
        if self.join is not None and self.join.get("syncs"):
            expected = [list(one) for one in dict.fromkeys(one.sync for one in there) if one]
        self.truth.check(said == expected, f"{self}: {message}, not with the syncs {expected}")

    def _forward(self, message: dict[str, Any]) -> None:
        first = message["seq"]
        self.truth.check(
            first <= self.reached + 1, f"{self}: has {self.reached}, is forwarded {message}"
        )
        self._ops(message, first)
        self.truth.happened["forward"] += 1

    def _asked(self, message: dict[str, Any], kind: str) -> Asked | None:
        asked = self.asked.get(message["id"])
        if asked is None or asked.message["type"] != kind:
            if not self.is_blind:
                self.truth.fault(f"{self}: nobody asked for {message}")
            return None
        asked.finals += 1
        self._count(asked, message)
        return asked

    def _count(self, asked: Asked, message: dict[str, Any]) -> None:
        if self.is_blind:
            # What it asked before it talked nonsense may not have been seen here.
            return
        fits = asked.finals <= asked.times and asked.put_off <= asked.times
        self.truth.check(fits, f"{self}: one answer too many: {message}, {asked}")

    def _key(self, request_id: str) -> Key:
        assert self.join is not None
        assert self.joined is not None
        client = self.join.get("client") or self.joined["client"]
        return self.gathering, f"{self.joined['user']}:{client}", request_id

    def _synced(self, message: dict[str, Any]) -> None:
        asked = self._asked(message, "sync")
        if self.joined is None:
            return
        seqs = tuple(message["seqs"])
        if asked is None:
            # What it submitted before it talked nonsense isn't known here, but the answer is right.
            self.reached = max(self.reached, seqs[-1])
            return
        ops = asked.message["ops"]
        self.truth.synced(self._key(message["id"]), seqs, ops, self._log)
        if not self._log.has(seqs, tuple(op["k"] for op in ops)):
            # The next incarnation has another log, and has answered.
            return
        logged = [one.op for one in self._ops_there[seqs[0] - 1 : seqs[-1]]]
        is_told = message.get("ops", ops) == logged
        # If only the store has the sync, the answer tells nothing but its seqs.
        self.truth.check(is_told or "ops" not in message, f"{self}: {message}, not {logged}")
        if seqs[-1] > self.joined["seq"]:
            lacks = f"{self}: has {self.reached}, is answered {message}"
            self.truth.check(self.reached >= seqs[0] - 1, lacks)
            if is_told:
                self.reached = max(self.reached, seqs[-1])

    def _fetched(self, message: dict[str, Any]) -> None:
        asked = self._asked(message, "fetch")
        if asked is None:
            return
        before = self.reached
        there = len(self._ops_there)
        self.truth.check(message["seq"] <= there, f"{self}: {message} isn't durable")
        if "snapshot" in message:
            state = state_of(self._log.keys(message["seq"]))
            self.truth.check(message["snapshot"] == state, f"{self}: {message}")
        else:
            self._ops(message, self._beginning(message, asked.message.get("since") or 0))
        self.reached = before
        self._surely_used()

    def _conflict(self, message: dict[str, Any]) -> None:
        asked = self._asked(message, "sync")
        if asked is None:
            return
        self._ops(message, asked.message["base"] + 1)
        self.truth.refuses(asked.message["ops"], "conflict")
        self._surely_used()

    def _error(self, message: dict[str, Any]) -> None:
        fair = {*FAIR, *self.truth.limited}
        is_fair = not self.is_honest or message["code"] in fair or self._may_be_lost(message)
        self.truth.check(is_fair, f"{self}: why? {message}, {self.join}")
        asked = self.asked.get(message.get("id", ""))
        if asked is None:
            return
        code = message["code"]
        if code in LOST_TURN:
            asked.put_off += 1
            if asked.message["type"] == "sync":
                self.truth.excused.update(op["k"] for op in asked.message["ops"])
        else:
            asked.finals += 1
            if code == "rejected":
                self.truth.refuses(asked.message["ops"], code)
                self._surely_used()
            elif code in self.truth.limited and asked.message["type"] == "sync":
                self.truth.excused.update(op["k"] for op in asked.message["ops"])
        self._count(asked, message)

    def _may_be_lost(self, message: dict[str, Any]) -> bool:
        """Whether the client may be told that the log isn't the one that it knows."""
        logs = self.truth.logs
        if self.join is None or not logs.before[self.gathering]:
            return False
        if message["code"] == "log_replaced":
            # A person also says what it was told of the chain.
            is_other = not self._knows(logs.now[self.gathering])
            return is_other or self.join.get("known") is not None
        return bool(message["code"] == "bad_base")

    def _surely_used(self) -> None:
        if not self.link.down.was_full and self.life is self.truth.lives.get(self.gathering):
            self.truth.used(self.gathering, surely=True)

    def _warned(self, message: dict[str, Any]) -> None:
        check, left = self.truth.check, message["expires_in"]
        check(self.joined is not None, f"{self}: before joining: {message}")
        incarnation = (self.joined or {}).get("incarnation")
        check(message["incarnation"] == incarnation, f"{self}: of another's end: {message}")
        check(message["rule"] in RULES, f"{self}: there is no such rule: {message}")
        self.warning = None
        if left is not None:
            before = self.life.warns_before if self.life is not None else math.inf
            check(0 <= left <= before + EPSILON, f"{self}: warned too early: {message}")
            now = self.truth.now()
            self.warning = message["rule"], self.truth.before_jump(now) + left, now + left
            self.truth.happened["warned"] += 1

    def _told_rights(self, message: dict[str, Any]) -> None:
        left = message.get("rights_expire_in")
        now = self.truth.now()
        self.rights_end = None if left is None else (now + self.truth.ahead() + left, now)

    @property
    def _may_be_mute(self) -> bool:
        """Whether its rights may have ended: then it is told of no end that is to come."""
        if self.rights_end is None:
            return False
        at, told_at = self.rights_end
        now = self.truth.now() + self.truth.ahead()
        return now >= at - WALL_EPSILON or self.truth.stepped_at >= told_at

    def _check_warned(self, reason: str) -> None:
        """Check an end by a rule against what the client was told of it."""
        truth, life, now = self.truth, self.life, self.truth.now()
        if self.warning is not None and self.warning[0] == reason and not self.link.is_relayed:
            is_early = now < self.warning[1] - WALL_EPSILON
            is_stepped = life is not None and life.is_by_wall and life.stepped_at > -math.inf
            truth.check(not is_early or is_stepped, f"{self}: ended before {self.warning}")
        if life is None or life.is_doubtful or self._may_be_mute:
            return
        before, time = life.rules.warn_before, life.rules.time_of(reason)
        if before is None or time is None or time <= before:
            return
        since = now - before - EPSILON
        moved = max(self.joined_at, life.moved_at, truth.jumped_at)
        if moved < since and not life.is_put_off and not self.is_doubtful:
            # It may have been told of another rule that ends it at the same instant.
            is_told = self.warning is not None and abs(self.warning[2] - now) < LATE
            truth.check(is_told, f"{self}: ended ({reason}) unwarned, {self.warning}: {life}")

    def _dispersed(self, message: dict[str, Any]) -> None:
        self.notice = message
        check, incarnation = self.truth.check, message["incarnation"]
        check(message["gathering"] == self.gathering, f"{self}: {message} from elsewhere")
        if self.joined is None:
            assert self.join is not None
            check(incarnation == self.join.get("resume"), f"{self}: told of another's: {message}")
            return
        check(incarnation == self.joined["incarnation"], f"{self}: told of another's: {message}")
        self.truth.happened["told"] += 1
        if self.truth.events is not None:
            self.truth.events.notices[incarnation] = message["reason"]
        is_held = self.life is not None and (self.life.is_put_off or self.life.is_doubtful)
        if message["reason"] in RULES and not self.is_stuck:
            self._check_warned(message["reason"])
        if message["reason"] == "idle" and not self.is_stuck and not is_held and self.life:
            timeout = self.life.rules.idle_timeout
            is_heard = not self.is_unheard or message["idle_for"] - timeout < LATE + EPSILON
            check(is_heard, f"{self}: not heard out: {message}")
            exact = abs(message["idle_for"] - timeout) < EPSILON
            life = self.life
            moved = max(self.truth.jumped_at, life.changed_at)
            is_late = moved >= life.used_from or life.store_ended_at > life.used_to
            # The store was still asked for something when it was due.
            is_late |= life.store_ended_at >= life.used_from + timeout - EPSILON
            check(exact or is_late, f"{self}: not on time: {message}, {life}")
            check(message["idle_for"] >= timeout - EPSILON, f"{self}: early: {message}")

    # What must hold once nothing moves any more.

    def quiet(self) -> None:
        """Check that all the client's requests are answered, if it's still there."""
        if not self.is_in or self.is_blind or self.is_stuck or self.is_gone:
            return
        for asked in self.asked.values():
            answers = asked.finals + asked.put_off
            self.truth.check(answers >= asked.times, f"{self}: not answered: {asked}")
        if not self.link.down.stalled:
            there = len(self._ops_there)
            self.truth.check(self.reached >= there, f"{self}: has {self.reached} of {there} ops")

    def check_told(self) -> None:
        """Check that the client was told of its incarnation's end, unless it doesn't listen."""
        life = self.life
        if life is None or life.is_doubtful or life is self.truth.lives.get(life.gathering):
            return
        is_told = self.notice is not None or not self.is_in or self.is_stuck or self.is_blind
        self.truth.check(is_told, f"{self}: never told the end of {life}")

    def __str__(self) -> str:
        return f"connection {self.number} of {self.name} in {self.gathering}"
