"""Presence: the options of `serve` that say whether, and how, clients are told who is here."""

import click

from squire_gatherings._cli.options import DURATION, SIZE, option, options, reloaded

PRESENCE = (
    "presence",
    "presence_interval",
    "presence_users",
    "presence_bytes",
    "presence_grace",
)
"""The fields of `HallSettings` that these options give."""

presence_options = options(
    option("--presence", is_flag=True, help="Clients that ask are told who is here."),
    reloaded(
        "--presence-interval",
        default="250ms",
        type=DURATION,
        help="At most once in so long; less often in a large crowd.",
    ),
    reloaded(
        "--presence-users",
        default=100,
        type=click.IntRange(1, 2**53 - 1),
        help="How many users are shown; of more, only their number.",
    ),
    reloaded("--presence-bytes", default="1KiB", type=SIZE, help="The state that each may have."),
    reloaded(
        "--presence-grace",
        default="10s",
        type=DURATION,
        help="A lost connection is shown this long, since it may come back.",
    ),
)
"""Gives a command the options of presence."""
