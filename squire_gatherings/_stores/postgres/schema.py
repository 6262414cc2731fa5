"""The schema: its versions, the statements that make each of the last one, and their texts.

All tables are in a schema of the store's own, whose name its URL may say. Names and ids that
clients choose are bytes (UTF-8): text of PostgreSQL's can't have a null character.
"""

from functools import lru_cache
from typing import LiteralString

from psycopg import sql

MIGRATIONS: tuple[tuple[LiteralString, ...], ...] = (
    (
        # The processes that have gatherings. `beat` is by the database's clock; a node is declared
        # dead when it's older than `lease` seconds. `given` counts what others gave to it. Keys are
        # random: a sequence might give one twice, in a database that has lost commits.
        """CREATE TABLE {s}.nodes (
            key bigint PRIMARY KEY,
            id text COLLATE "C" NOT NULL UNIQUE,
            name text NOT NULL,
            machine text NOT NULL DEFAULT '',
            socket text NOT NULL DEFAULT '',
            address text NOT NULL DEFAULT '',
            url text NOT NULL DEFAULT '',
            state text NOT NULL DEFAULT 'up',
            gatherings bigint NOT NULL DEFAULT 0,
            connections bigint NOT NULL DEFAULT 0,
            lease double precision NOT NULL,
            beat timestamptz NOT NULL DEFAULT clock_timestamp(),
            beats bigint NOT NULL DEFAULT 0,
            given bigint NOT NULL DEFAULT 0
        ) WITH (fillfactor = 50)""",
        # An owner that isn't in `nodes`, or is dead, is none. An epoch is never given twice, to
        # whichever gathering. A log begins with `first_seq`; `before`, `epoch_before` and
        # `time_before` are of the op before that, and `chain` is the head after the last op.
        "CREATE SEQUENCE {s}.owner_epochs",
        """CREATE TABLE {s}.gatherings (
            key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            id text COLLATE "C" NOT NULL UNIQUE,
            owner bigint,
            owner_epoch bigint NOT NULL DEFAULT 0,
            head bigint NOT NULL DEFAULT 0,
            chain bytea NOT NULL DEFAULT '',
            first_seq bigint NOT NULL DEFAULT 1,
            before bytea NOT NULL DEFAULT '',
            epoch_before bytea NOT NULL DEFAULT '',
            time_before bytea,
            arrived boolean NOT NULL DEFAULT false
        ) WITH (fillfactor = 70)""",
        # What another node has left to the owner, which hasn't said yet that it took it up.
        "CREATE INDEX arrived ON {s}.gatherings (owner) WHERE arrived",
        "CREATE INDEX owned ON {s}.gatherings (owner, key) WHERE owner IS NOT NULL",
        # The last op of an append has the head after it, and the id that the chain has there, if
        # that isn't the gathering's own. An op has an epoch where that isn't the last one's.
        """CREATE TABLE {s}.ops (
            gathering bigint NOT NULL,
            seq bigint NOT NULL,
            by bytea,
            op bytea NOT NULL,
            time bigint NOT NULL,
            epoch bytea,
            head bytea,
            name text COLLATE "C",
            PRIMARY KEY (gathering, seq)
        )""",
        "CREATE INDEX epochs ON {s}.ops (gathering, seq) WHERE epoch IS NOT NULL",
        """CREATE TABLE {s}.syncs (
            gathering bigint NOT NULL,
            scope bytea NOT NULL,
            id bytea NOT NULL,
            first_seq bigint NOT NULL,
            count bigint NOT NULL,
            fingerprint bytea NOT NULL,
            PRIMARY KEY (gathering, scope, id)
        )""",
        "CREATE INDEX newest_syncs ON {s}.syncs (gathering, first_seq)",
        """CREATE TABLE {s}.snapshots (
            gathering bigint NOT NULL,
            seq bigint NOT NULL,
            state bytea NOT NULL,
            digest bytea NOT NULL,
            PRIMARY KEY (gathering, seq)
        )""",
        """CREATE TABLE {s}.tombstones (
            id text COLLATE "C" PRIMARY KEY,
            seq bigint NOT NULL,
            head bytea NOT NULL,
            time bigint NOT NULL,
            digest bytea NOT NULL
        )""",
        # How often whole logs were deleted, cut short or taken in: halls look at it.
        "CREATE TABLE {s}.changes (number bigint NOT NULL)",
        "INSERT INTO {s}.changes VALUES (0)",
        # One outbox for all nodes. `last` is the number of the last event that there ever was; of
        # a node, the last one by its own count, so that what it writes again counts once.
        "CREATE TABLE {s}.event_numbers (last bigint NOT NULL)",
        "INSERT INTO {s}.event_numbers VALUES (0)",
        "CREATE TABLE {s}.outboxes (node bigint PRIMARY KEY, last bigint NOT NULL)",
        """CREATE TABLE {s}.events (
            number bigint PRIMARY KEY,
            event bytea NOT NULL,
            digest bytea NOT NULL
        )""",
        """CREATE TABLE {s}.incarnations (
            id text COLLATE "C" PRIMARY KEY,
            gathering text COLLATE "C" NOT NULL,
            event bytea NOT NULL,
            digest bytea NOT NULL
        )""",
        "CREATE INDEX open_of ON {s}.incarnations (gathering)",
        """CREATE TABLE {s}.sleepers (
            incarnation text COLLATE "C" PRIMARY KEY,
            gathering text COLLATE "C" NOT NULL,
            state bytea NOT NULL,
            digest bytea NOT NULL
        )""",
        "CREATE INDEX sleepers_of ON {s}.sleepers (gathering)",
        # By this, nodes know each other.
        "CREATE TABLE {s}.secrets (peers bytea NOT NULL)",
        "INSERT INTO {s}.secrets VALUES"
        " (uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))",
    ),
)
"""The statements that lead from each version (0: no schema yet) to the next."""

VERSION = len(MIGRATIONS)

OF_A_GATHERING: tuple[LiteralString, ...] = ("ops", "syncs", "snapshots")
"""The tables whose rows belong to a gathering, by its key in the column `gathering`."""


@lru_cache(512)
def statement(text: LiteralString, schema: str) -> bytes:
    """Return a statement for a store's schema, which stands as `{s}` in the text."""
    return sql.SQL(text).format(s=sql.Identifier(schema)).as_bytes(None)
