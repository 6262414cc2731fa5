"""The hall's calls about the rights of users. `rights` does what they say."""

from squire_gatherings._hall.rights import Rights


class RightsCalls:
    """What users may do."""

    __slots__ = ()
    _rights: Rights

    def revoke(self, user: str, *, until: float) -> int:
        """Take a user's rights at once, in every gathering, until an instant.

        Its connections are closed (4003). Its syncs and fetches are refused, even those that wait
        in an inbox already; what was judged before and isn't durable yet stays. Until that instant
        every join, refresh and call under its name raises `Unauthorized`, also where the program
        gives its identity.

        Args:
            user: As in its `Identity`.
            until: The instant, in seconds as `time.time()` counts them; infinity is allowed. One
                that has passed takes a revocation back. Past the end of the user's last token it
                is of no use.

        Returns:
            How many connections were closed.

        Raises:
            CannotRemember: `max_remembered` hold already. Nothing has changed; `kick` works.
            ValueError: `user` can't be one, or `until` is no time.
        """
        return self._rights.revoke(user, until)

    def kick(self, user: str, *, gathering_id: str | None = None) -> int:
        """Put a user out at once, of one gathering or of all. It may come back if it is let in.

        Its connections are closed (4003). Its syncs and fetches that wait are refused, and so are
        its joins that are under way. Where `authenticate` is just being asked about the user, it is
        asked again, since what it has read may have changed.

        Args:
            user: As in its `Identity`.
            gathering_id: The gathering that the user is put out of; None for all.

        Returns:
            How many connections were closed.

        Raises:
            ValueError: `user` can't be one.
        """
        return self._rights.kick(user, gathering_id)

    def change_role(
        self, user: str, role: str, *, gathering_id: str | None = None, until: float | None = None
    ) -> int:
        """Give a user another role at once, in one gathering or in all; the client is told.

        Syncs that wait to be judged are judged by the new role. Joins and refreshes that are under
        way bring it, too.

        Args:
            user: As in its `Identity`.
            role: What it is from now on.
            gathering_id: The gathering where it has that role; None for all. A role in one
                gathering comes before a role in all.
            until: Joins, refreshes and calls under that name have this role until then, even if
                `authenticate` gives another one. In seconds as `time.time()` counts them; one that
                has passed takes that back. Without it, `authenticate` decides at the next join or
                refresh.

        Returns:
            How many connections the user has there.

        Raises:
            CannotRemember: `max_remembered` hold already. Nothing has changed.
            ValueError: `user` or `role` can't be one, or `until` is no time.
        """
        return self._rights.change_role(user, role, gathering_id, until)
