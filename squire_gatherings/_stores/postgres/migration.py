"""The migration: a schema of an older version, or none, becomes one of the newest.

A lock of the database's keeps two programs from doing it at once. It's one of a transaction, which
also a pooler (PgBouncer) leaves to whoever has begun it.
"""

from typing import Any

import psycopg

from squire_gatherings._stores.postgres.schema import MIGRATIONS, VERSION, statement
from squire_gatherings._values.errors import StoreUnusable

LOCK = 0x53515247  # "SQRG"
"""The number of the lock; with it goes a hash of the schema's name."""

PROGRAM = "squire-gatherings"
"""What says that a schema is ours."""


def schema_version(connection: psycopg.Connection[Any], schema: str) -> int:
    """Return the version of the store's schema; 0 if there is nothing in it yet, or none.

    Raises:
        StoreUnusable: It is another program's, or one of a version that isn't known.
    """
    row = connection.execute(
        "SELECT count(c.oid), count(c.oid) FILTER (WHERE relname = 'about')"
        " FROM pg_namespace AS n JOIN pg_class AS c ON relnamespace = n.oid"
        " WHERE nspname = %s",
        (schema,),
    ).fetchone()
    tables, about = row or (0, 0)
    if not tables:
        return 0
    found = None
    if about:
        try:
            found = connection.execute(
                statement("SELECT version FROM {s}.about WHERE program = %s", schema), (PROGRAM,)
            ).fetchone()
        except psycopg.errors.UndefinedColumn:
            found = None
    if found is None:
        raise StoreUnusable(f"the schema {schema} of the database is another program's")
    [version] = found
    if not 0 < version <= VERSION:
        raise StoreUnusable(
            f"the schema {schema} has version {version}, this program knows up to {VERSION}"
        )
    return int(version)


def migrate(connection: psycopg.Connection[Any], schema: str, *, may_begin: bool) -> None:
    """Bring the store's schema to the newest version.

    Args:
        connection: To the database; no transaction may be open.
        schema: The schema's name.
        may_begin: Whether it is made if it isn't there.

    Raises:
        StoreUnusable: It is another program's, or newer; or there is none.
        psycopg.Error: It can't be done now.
    """
    if schema_version(connection, schema) == VERSION:
        return
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (LOCK, schema))
        version = schema_version(connection, schema)
        if version == 0:
            if not may_begin:
                raise StoreUnusable(f"the database has no schema {schema}")
            _begin(connection, schema)
        for statements in MIGRATIONS[version:]:
            for text in statements:
                connection.execute(statement(text, schema))
        connection.execute(statement("UPDATE {s}.about SET version = %s", schema), (VERSION,))


def _begin(connection: psycopg.Connection[Any], schema: str) -> None:
    row = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone()
    if row is None:
        # One that is there already needs no right to make others in the database.
        connection.execute(statement("CREATE SCHEMA {s}", schema))
    connection.execute(
        statement("CREATE TABLE {s}.about (program text NOT NULL, version int NOT NULL)", schema)
    )
    connection.execute(statement("INSERT INTO {s}.about VALUES (%s, 0)", schema), (PROGRAM,))
