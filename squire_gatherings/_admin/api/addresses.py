"""The call about addresses: how many clients come from one, as limits count them."""

import ipaddress

import trio

from squire_gatherings._admin.api import shapes
from squire_gatherings._admin.api.times import Times
from squire_gatherings._admin.operations import Call, Operation
from squire_gatherings._server.limits import limits_of
from squire_gatherings._values.addresses import address_of


async def one_address(call: Call) -> shapes.AddressClients:
    """Return how many clients come from an address."""
    query: shapes.AddressQuery = call.query
    await trio.lowlevel.checkpoint()
    # Raises ValueError: that is answered with 400.
    address = address_of(str(ipaddress.ip_address(query.address)))
    assert address is not None
    return shapes.AddressClients(
        now=Times.of(call.observer).wall,
        address=address,
        clients=limits_of(call.hall).clients.of(address),
    )


OPERATIONS = (
    Operation(
        method="GET",
        path="/api/v1/addresses",
        name="get_address",
        does="Tell how many clients come from an address, as proxies that are believed tell it.",
        run=one_address,
        answer=shapes.AddressClients,
        query=shapes.AddressQuery,
    ),
)
