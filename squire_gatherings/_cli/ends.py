"""The ends of gatherings: the options of `serve` that say by which rules they end."""

import click

from squire_gatherings._cli.options import DURATION_OR_OFF, options, reloaded

END_RULES = (
    "unjoined_timeout",
    "alone_timeout",
    "alone_clients",
    "max_age",
    "warn_before",
    "sleep_after",
)
"""The fields of `HallSettings` that these options give."""

end_options = options(
    reloaded(
        "--unjoined-timeout",
        default="off",
        type=DURATION_OR_OFF,
        help="Opened, and joined by nobody this long: it ends.",
    ),
    reloaded(
        "--alone-timeout",
        default="off",
        type=DURATION_OR_OFF,
        help="At most --alone-clients connected, and no message, this long: it ends.",
    ),
    reloaded(
        "--alone-clients",
        default=1,
        type=click.IntRange(1, 2**53 - 1),
        help="How many clients count as alone.",
    ),
    reloaded("--max-age", default="off", type=DURATION_OR_OFF, help="Open this long: it ends."),
    reloaded(
        "--warn-before",
        default="off",
        type=DURATION_OR_OFF,
        help="This long before the end, clients are told of it.",
    ),
    reloaded(
        "--sleep-after",
        default="off",
        type=DURATION_OR_OFF,
        help="Unused this long, a gathering leaves memory; a message wakes it.",
    ),
)
"""Gives a command the options of rules by which a gathering ends."""
