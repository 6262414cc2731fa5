"""Transactions: one that only reads, and one that writes, each of one block."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_moment(database: sqlite3.Connection) -> Iterator[None]:
    """See the file as it is at one moment, whatever is written to it meanwhile."""
    database.execute("BEGIN")
    try:
        yield
    finally:
        if database.in_transaction:
            database.execute("ROLLBACK")


@contextmanager
def writing(database: sqlite3.Connection) -> Iterator[None]:
    """Hold the lock for what the block writes: all of it is committed, or nothing."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
