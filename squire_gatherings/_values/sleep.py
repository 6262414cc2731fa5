"""Sleep: what is remembered of an incarnation that sleeps. Its log is in the store."""

import math
from contextlib import suppress

from msgspec import Struct
from msgspec.structs import replace

from squire_gatherings._values.handover import ClientState, DeadlineState

_HEXADECIMAL, _TEXT = b"x", b"t"


class SleepState(Struct, frozen=True, array_like=True):
    """What is remembered of one incarnation, in little memory: a million may sleep.

    Times are seconds of the hall's clock; in a store, of the wall clock. A field is only ever added
    at the end, and with a default: stores have these.
    """

    name: bytes
    """The incarnation's id, packed."""
    seq: int
    """The last op, which the store must have."""
    processed: int
    numbered: int
    is_wanted: bool
    was_joined: bool
    opened_at: float
    last_processed_at: float
    emptied_at: float | bool | None
    """As in `DeadlineState`; true for `last_processed_at`."""
    few_since: float | bool | None
    """The same."""
    extended_to: float | None
    """None where nothing was extended."""
    told: tuple[str, float, float] | None
    moved: tuple[str, str | None, float | None]
    """As in `DeadlineState`; None for `last_processed_at`."""
    opener: tuple[str, str | None] | None
    life: tuple[int, int, int, int] | None = None
    """What is counted for its lifecycle events, if somebody is told of these."""
    acts_at_time: int | None = None
    """When its behaviour acts by itself, in milliseconds since 1970."""

    @classmethod
    def of(
        cls,
        incarnation: str,
        seq: int,
        processed: int,
        numbered: int,
        deadline: DeadlineState,
        *,
        is_wanted: bool,
        opener: tuple[str, str | None] | None,
        life: tuple[int, int, int, int] | None,
        acts_at_time: int | None,
    ) -> "SleepState":
        """Return what is to be remembered of an incarnation with this deadline."""
        what, by, at = deadline.moved
        extended_to, last = deadline.extended_to, deadline.last_processed_at
        return cls(
            packed(incarnation),
            seq,
            processed,
            numbered,
            is_wanted,
            deadline.was_joined,
            deadline.opened_at,
            last,
            deadline.emptied_at == last or deadline.emptied_at,
            deadline.few_since == last or deadline.few_since,
            None if extended_to == -math.inf else extended_to,
            deadline.told,
            (what, by, None if at == last else at),
            opener,
            life,
            acts_at_time,
        )

    @property
    def incarnation(self) -> str:
        """The incarnation's id."""
        kind, name = self.name[:1], self.name[1:]
        return name.hex() if kind == _HEXADECIMAL else name.decode()

    @property
    def deadline(self) -> DeadlineState:
        """The state of its deadline."""
        what, by, at = self.moved
        return DeadlineState(
            self.opened_at,
            self.last_processed_at,
            self._at(self.emptied_at),
            self._at(self.few_since),
            self.was_joined,
            -math.inf if self.extended_to is None else self.extended_to,
            self.told,
            (what, by, self.last_processed_at if at is None else at),
        )

    def _at(self, at: float | bool | None) -> float | None:
        return self.last_processed_at if at is True else at


def packed(incarnation: str) -> bytes:
    """Return an incarnation's id in half as many bytes, if it is hexadecimal."""
    with suppress(ValueError):
        found = bytes.fromhex(incarnation)
        if found.hex() == incarnation:
            return _HEXADECIMAL + found
    return _TEXT + incarnation.encode()


Rules = dict[str, float | int | None]


class Slept(Struct, frozen=True, array_like=True):
    """One incarnation that sleeps, as a store remembers it for the next process.

    A field is only ever added at the end, and with a default.
    """

    gathering: str
    state: SleepState
    """Its times are those of the wall clock."""
    base: Rules
    """The rules that it was opened with."""
    said: Rules | None
    """What its behaviour has made of them."""
    changes: Rules
    """What the program has changed of them since."""


class SleeperState(Struct, frozen=True, array_like=True):
    """One incarnation that sleeps in a process, as the next one is told of it.

    A field is only ever added at the end, and with a default.
    """

    slept: Slept
    """Its times are those of the clock that both processes have."""
    clients: list[ClientState]
    presence: list[tuple[int, bytes]] | None = None
    """As `RoomState` has it."""


def shifted(state: SleepState, seconds: float) -> SleepState:
    """Return the same by a clock that is ahead by so many seconds."""

    def later(at: float | bool | None) -> float | bool | None:
        return at if at is None or at is True else at + seconds

    told = state.told
    what, by, moved_at = state.moved
    return replace(
        state,
        opened_at=state.opened_at + seconds,
        last_processed_at=state.last_processed_at + seconds,
        emptied_at=later(state.emptied_at),
        few_since=later(state.few_since),
        extended_to=later(state.extended_to),
        told=None if told is None else (told[0], told[1] + seconds, told[2] + seconds),
        moved=(what, by, later(moved_at)),
    )
