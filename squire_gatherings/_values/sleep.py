"""Sleep: what is remembered of an incarnation that sleeps. Its log is in the store."""

import math

from msgspec import Struct

from squire_gatherings._values.handover import DeadlineState


class SleepState(Struct, frozen=True, array_like=True):
    """What is remembered of one incarnation, in little memory: a million may sleep.

    Times are seconds of the hall's clock; in a store, of the wall clock. A field is only ever added
    at the end, and with a default: stores have these.
    """

    incarnation: str
    seq: int
    """The last op, which the store must have."""
    processed: int
    numbered: int
    is_wanted: bool
    was_joined: bool
    opened_at: float
    last_processed_at: float
    emptied_at: float | None
    few_since: float | None
    extended_to: float | None
    """None where nothing was extended."""
    told: tuple[str, float, float] | None
    moved: tuple[str, str | None, float | None]
    """As in `DeadlineState`; None for `last_processed_at`."""
    opener: tuple[str, str | None] | None
    life: tuple[int, int, int, int] | None = None
    """What is counted for its lifecycle events, if somebody is told of these."""

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
    ) -> "SleepState":
        """Return what is to be remembered of an incarnation with this deadline."""
        what, by, at = deadline.moved
        extended_to, last = deadline.extended_to, deadline.last_processed_at
        return cls(
            incarnation,
            seq,
            processed,
            numbered,
            is_wanted,
            deadline.was_joined,
            deadline.opened_at,
            last,
            deadline.emptied_at,
            deadline.few_since,
            None if extended_to == -math.inf else extended_to,
            deadline.told,
            (what, by, None if at == last else at),
            opener,
            life,
        )

    @property
    def deadline(self) -> DeadlineState:
        """The state of its deadline."""
        what, by, at = self.moved
        return DeadlineState(
            self.opened_at,
            self.last_processed_at,
            self.emptied_at,
            self.few_since,
            self.was_joined,
            -math.inf if self.extended_to is None else self.extended_to,
            self.told,
            (what, by, self.last_processed_at if at is None else at),
        )
