"""The stories, each in a module with its likes. Importing this registers them, in this order."""

from squire_gatherings._conform.stories import (  # noqa: I001 (the order in which they are played)
    joining,
    forwards,
    syncs,
    returning,
    endings,
    replaced_logs,
    hostile,
    rights,
    fetches,
    presence,
)
from squire_gatherings._conform.story import STORIES

__all__ = [
    "STORIES",
    "endings",
    "fetches",
    "forwards",
    "hostile",
    "joining",
    "presence",
    "replaced_logs",
    "returning",
    "rights",
    "syncs",
]
