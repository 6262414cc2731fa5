"""The ends of incarnations, as their clients see them: each once, never early, and not late.

The deadline moves with each counted message that a node processes, which is some time after it was
sent. So an end may never come before (the last message that was answered) + the idle timeout, and
is late if it comes well after (the last message that was sent at all) + the idle timeout.
"""

from attrs import define, field

from tests.nemesis.diary import Diary
from tests.nemesis.history import End

TOLERANCE = 0.005
"""Seconds: for the nodes' clocks and ours ticking differently, and rounding."""


@define
class Life:
    """One incarnation. Times are of `time.monotonic`."""

    incarnation: str
    joined: float
    """When the first of its clients asked to join it."""
    proven: float = 0.0
    """When the last counted message was sent that it answered."""
    notice: float | None = None
    """When the first notice of its end came."""
    seq: int = 0
    """Where its log ended, as the notices say."""

    def as_end(self) -> End:
        """Return what the first notice tells, for the history."""
        assert self.notice is not None
        return End(
            client="all",
            invoked=self.joined,
            returned=self.notice,
            seq=self.seq,
            incarnation=self.incarnation,
        )


@define
class Ends:
    """The ends of one gathering's incarnations."""

    gathering: str
    idle_timeout: float
    lateness: float
    """How late a notice may be where nothing is done to the nodes."""
    _diary: Diary
    lives: dict[str, Life] = field(factory=dict)
    sent: float = 0.0
    """When any of its clients sent a counted message last."""

    def joined(self, incarnation: str, asked_at: float) -> None:
        """A client was let in, that had asked at this instant."""
        life = self.lives.setdefault(incarnation, Life(incarnation, asked_at))
        life.joined = min(life.joined, asked_at)
        life.proven = max(life.proven, asked_at)

    def answered(self, incarnation: str, sent_at: float) -> None:
        """A counted message was answered that was sent at this instant."""
        life = self.lives[incarnation]
        life.proven = max(life.proven, sent_at)

    def noticed(self, incarnation: str, seq: int, idle_for: float, now: float) -> None:
        """A client was told that an incarnation ended, of idleness."""
        life = self.lives[incarnation]
        name = f"{self.gathering} {incarnation}"
        early = life.proven + self.idle_timeout - now
        if early > TOLERANCE:
            self._wrong(f"{name} ended {early:.3f} s early")
        if idle_for < self.idle_timeout - TOLERANCE:
            self._wrong(f"{name} ended after {idle_for:.3f} s of idleness")
        # What was sent just now may have crossed the notice.
        basis = self.sent if now >= self.sent + self.idle_timeout else life.proven
        late = now - basis - self.idle_timeout
        if late > self.lateness and not self._diary.is_disturbed(basis, now):
            self._wrong(f"{name} ended {late:.3f} s late")
        if life.notice is None:
            life.notice, life.seq = now, seq
            self._diary.counts["ends"] += 1
        elif life.seq != seq:
            self._wrong(f"{name} ended at {life.seq}, and at {seq}")

    def _wrong(self, what: str) -> None:
        self._diary.violated(what, self.gathering)
