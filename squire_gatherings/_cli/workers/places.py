"""Places: what of a server each of its workers has: its share of the store, and its admin port."""

import socket
from collections.abc import Mapping
from typing import Any

import click

from squire_gatherings._cli.options import option
from squire_gatherings._rules.shards import MOST_SHARDS
from squire_gatherings._stores import folder_path, is_postgres
from squire_gatherings._stores.shards import is_folder, prepare_folder, shard_url

LAST_PORT = 65535

workers_option = option(
    "--workers",
    default=1,
    type=click.IntRange(1, MOST_SHARDS),
    help="Processes that serve together, each with its shard of --store sqlite:///FOLDER/.",
)


def check_workers(options: Mapping[str, Any]) -> None:
    """Check whether a server can have so many workers as the options ask for.

    Raises:
        click.UsageError: It can't.
    """
    workers, store = options["workers"], options["store"]
    if workers == 1:
        return
    if not hasattr(socket, "AF_UNIX") or not hasattr(socket, "send_fds"):
        raise click.UsageError("--workers needs a system where processes can pass sockets on")
    if store != "memory:" and not is_folder(store) and not is_postgres(store):
        raise click.UsageError(
            "with --workers each worker has a file of its own: name a folder, --store"
            " sqlite:///FOLDER/"
        )
    port = options["admin_port"]
    if port and port + workers - 1 > LAST_PORT:
        raise click.UsageError(
            f"each worker has an admin port, --admin-port and those after it: there aren't"
            f" {workers} from {port} on"
        )


def prepare_store(options: Mapping[str, Any]) -> None:
    """Make a store's folder, where it's one, or check that so many workers can serve it.

    Raises:
        BadSetting, StoreUnusable: They can't.
    """
    if is_folder(options["store"]):
        prepare_folder(folder_path(options["store"]), options["workers"])


def store_of(options: Mapping[str, Any], number: int) -> str:
    """Return the URL of one worker's store."""
    store: str = options["store"]
    return shard_url(store, number) if is_folder(store) else store


def admin_ports(options: Mapping[str, Any]) -> list[int | None]:
    """Return each worker's admin port; None for none, 0 for any that is free."""
    port, workers = options["admin_port"], options["workers"]
    if not port:
        return [port] * workers
    return [port + number for number in range(workers)]
