"""Transactions: one that only reads, and one that needn't be on the disk when it ends."""

from collections.abc import Iterator
from contextlib import contextmanager

from squire_gatherings._stores.postgres.link import Connection


@contextmanager
def one_moment(connection: Connection) -> Iterator[None]:
    """See the database as it is at one moment, whatever is written to it meanwhile."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


@contextmanager
def unflushed(connection: Connection) -> Iterator[None]:
    """Commit what the block writes without waiting for the disk: a loss of power may undo it."""
    with connection.transaction():
        connection.execute("SET LOCAL synchronous_commit = off")
        yield
