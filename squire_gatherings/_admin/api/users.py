"""The calls about users: what they may do is changed at once, in every gathering."""

import math

import trio

from squire_gatherings._admin.api import shapes
from squire_gatherings._admin.operations import Call, Operation


async def kick(call: Call) -> shapes.Closed:
    """Put a user out."""
    body: shapes.Kick = call.body
    await trio.lowlevel.checkpoint()
    return shapes.Closed(closed=call.hall.kick(body.user, gathering_id=body.gathering))


async def revoke(call: Call) -> shapes.Closed:
    """Take a user's rights."""
    body: shapes.Revoke = call.body
    await trio.lowlevel.checkpoint()
    until = math.inf if body.until is None else body.until
    return shapes.Closed(closed=call.hall.revoke(body.user, until=until))


async def change_role(call: Call) -> shapes.Connected:
    """Give a user another role."""
    body: shapes.ChangeRole = call.body
    await trio.lowlevel.checkpoint()
    connections = call.hall.change_role(
        body.user, body.role, gathering_id=body.gathering, until=body.until
    )
    return shapes.Connected(connections=connections)


OPERATIONS = (
    Operation(
        method="POST",
        path="/api/v1/users/kick",
        name="kick",
        does="Put a user out, of one gathering or of all. It may come back, if it is let in.",
        run=kick,
        answer=shapes.Closed,
        body=shapes.Kick,
    ),
    Operation(
        method="POST",
        path="/api/v1/users/revoke",
        name="revoke",
        does="Take a user's rights in every gathering, until an instant.",
        run=revoke,
        answer=shapes.Closed,
        body=shapes.Revoke,
        problems=(503,),
    ),
    Operation(
        method="POST",
        path="/api/v1/users/change-role",
        name="change_role",
        does="Give a user another role, in one gathering or in all.",
        run=change_role,
        answer=shapes.Connected,
        body=shapes.ChangeRole,
        problems=(503,),
    ),
)
