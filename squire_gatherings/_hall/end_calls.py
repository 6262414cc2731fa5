"""The hall's calls about the ends of gatherings. `ending` does what they say."""

from typing import Unpack

from squire_gatherings._hall.ending import Ending
from squire_gatherings._hall.registry import Registry
from squire_gatherings._values.end_rules import EndRuleOptions, EndRules, Explanation


class EndCalls:
    """When gatherings end. None of this is activity."""

    __slots__ = ()
    _registry: Registry
    _ending: Ending

    @property
    def end_rules(self) -> EndRules:
        """The rules by which gatherings end that are given no others: from the settings."""
        return self._registry.given.base

    def change_rules(
        self, gathering_id: str, *, by: str | None = None, **changes: Unpack[EndRuleOptions]
    ) -> Explanation:
        """Change some of the rules by which an open gathering ends; they hold at once.

        They hold for this incarnation, and come before what its behaviour says.

        Args:
            gathering_id: Which gathering.
            by: Who wants that, for `explain`.
            **changes: Fields of `EndRules`, by their names. All others stay.

        Returns:
            When it ends now.

        Raises:
            GatheringDispersed: It isn't open.
            BadSetting: A rule can't be what it is. Nothing has changed.
        """
        return self._ending.change(gathering_id, dict(changes), "change_rules", by)

    def hold(self, gathering_id: str, *, until: float | None, by: str | None = None) -> Explanation:
        """Let no rule end an open gathering before an instant. It may still be dispersed.

        Args:
            gathering_id: Which gathering.
            until: The instant, in seconds as `time.time()` counts them; infinity is allowed. None,
                or one that has passed, takes a hold back.
            by: Who wants that, for `explain`.

        Returns:
            When it ends now.

        Raises:
            GatheringDispersed: It isn't open.
            BadSetting: `until` is no time.
        """
        return self._ending.change(gathering_id, {"hold_until": until}, "hold", by)

    def extend(self, gathering_id: str, seconds: float, *, by: str | None = None) -> Explanation:
        """Let no rule end an open gathering before the end that it has now + `seconds`.

        Args:
            gathering_id: Which gathering.
            seconds: How much longer. It adds to earlier extensions.
            by: Who wants that, for `explain`.

        Returns:
            When it ends now. Where it never ends, nothing has changed.

        Raises:
            GatheringDispersed: It isn't open.
            BadSetting: `seconds` isn't a number above 0.
        """
        return self._ending.extend(gathering_id, seconds, by)

    def warn(self, gathering_id: str) -> Explanation:
        """Tell the clients of an open gathering now how much time is left (`ending`).

        Where it never ends they're told nothing. A warning that is due later comes all the same.

        Returns:
            When it ends.

        Raises:
            GatheringDispersed: It isn't open.
        """
        return self._ending.warn(gathering_id)

    def explain(self, gathering_id: str) -> Explanation:
        """Return why an open gathering is alive, and when it ends.

        Raises:
            GatheringDispersed: It isn't open.
        """
        return self._ending.explain(gathering_id)
