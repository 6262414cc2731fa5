"""The address: where the database is, as the store's URL says it, and what of it may be shown."""

import re
from typing import Any
from urllib.parse import parse_qsl

import psycopg
from attrs import field, frozen
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from squire_gatherings._values.errors import BadSetting

SCHEMES = ("postgresql://", "postgres://")
SCHEMA = "squire_gatherings"
"""The schema in the database that a store has, unless its URL says another."""

CONNECT_TIMEOUT = 5
"""How many seconds a connection may take to be made, unless the URL says so."""

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")

_QUIET = {
    "application_name": "squire-gatherings",
    "connect_timeout": str(CONNECT_TIMEOUT),
    # A machine that is gone is noticed, though it never closes a connection.
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""What a connection has, unless the URL says otherwise."""


@frozen
class Address:
    """Where a store is. Its `conninfo` may have a password: it's never shown."""

    conninfo: str = field(repr=False)
    """What libpq is given."""
    schema: str
    name: str
    """The URL as it is told in logs: no user, no password."""

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Return what a URL says.

        Args:
            url: As libpq takes it, with options of TLS (`sslmode=verify-full`) and several hosts;
                `schema=NAME` among its parameters is ours.

        Raises:
            BadSetting: It can't be the URL of a PostgreSQL database.
        """
        if "\0" in url:
            raise BadSetting("the URL of a store can't contain a null character")
        url, schema = _without_schema(url)
        try:
            found = {name: str(value) for name, value in conninfo_to_dict(url).items()}
        except psycopg.Error:
            # What libpq says of it may quote a part of a password.
            raise BadSetting(
                "the store's URL isn't one of PostgreSQL: it's postgresql://USER@HOST:PORT/DATABASE"
                " with parameters of libpq, and in names and passwords % / @ : ? are written as"
                " %25 %2F %40 %3A %3F"
            ) from None
        if any("@" in found.get(part, "") for part in ("dbname", "host", "port")):
            # Or else a part of the password would be taken for the database, and be shown.
            raise BadSetting("in the URL of a store, @ in a name or a password is written as %40")
        conninfo: dict[str, Any] = {**_QUIET, **found}
        return cls(make_conninfo(**conninfo), schema, _shown(found, schema))


def is_postgres(url: str) -> bool:
    """Return whether a URL is to name a database of PostgreSQL."""
    return url.startswith(SCHEMES)


def _without_schema(url: str) -> tuple[str, str]:
    """Take the parameter that libpq doesn't know out of a URL."""
    beginning, mark, query = url.partition("?")
    if not mark:
        return url, SCHEMA
    kept = [one for one in query.split("&") if one.partition("=")[0] != "schema"]
    named = [value for name, value in parse_qsl(query, keep_blank_values=True) if name == "schema"]
    if not named:
        return url, SCHEMA
    [schema] = named[-1:]
    if not _SCHEMA.fullmatch(schema) or schema.startswith("pg_") or schema == "public":
        raise BadSetting(
            "the schema of a store is 1 to 63 of a-z 0-9 _, and neither public nor one of"
            " PostgreSQL's own"
        )
    return f"{beginning}?{'&'.join(kept)}" if kept else beginning, schema


def _shown(found: dict[str, str], schema: str) -> str:
    host, port = found.get("host", ""), found.get("port", "")
    hosts = [one if ":" not in one else f"[{one}]" for one in host.split(",")]
    ports = port.split(",") if port else [""]
    if len(ports) != len(hosts):
        ports = ports[:1] * len(hosts)
    places = ",".join(
        f"{one}:{number}" if number else one for one, number in zip(hosts, ports, strict=True)
    )
    suffix = "" if schema == SCHEMA else f"?schema={schema}"
    return f"postgresql://{places}/{found.get('dbname', '')}{suffix}"
