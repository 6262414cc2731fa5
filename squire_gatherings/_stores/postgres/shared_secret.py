"""The secret by which the nodes of a database know each other; it is made with the schema."""

from squire_gatherings._stores.postgres.calls import Calls
from squire_gatherings._stores.postgres.link import Connection
from squire_gatherings._stores.postgres.schema import statement
from squire_gatherings._values.errors import StoreUnusable


class SharedSecret(Calls):
    """Gives it to the nodes, which may all read the table."""

    async def peers_secret(self) -> bytes:
        """Return the secret.

        Raises:
            StoreUnusable: Somebody has deleted it.
            StoreUnavailable: The store can't be read now.

        Cancellation: nothing is changed.
        """
        return await self._read(_find)


def _find(connection: Connection, schema: str) -> bytes:
    row = connection.execute(statement("SELECT peers FROM {s}.secrets", schema)).fetchone()
    if row is None:
        raise StoreUnusable(f"the schema {schema} has no secret for its nodes")
    return bytes(row[0])
