"""Nodes: the options of a server that is one of several which share a database."""

import os
import platform
from collections.abc import Mapping
from typing import Any

import click

from squire_gatherings._cli.options import FILE, option, options
from squire_gatherings._client.address import parse_address
from squire_gatherings._cluster.beats import new_node_id
from squire_gatherings._cluster.machine import this_machine
from squire_gatherings._cluster.peer_settings import ANY, PeerSettings
from squire_gatherings._cluster.peer_tls import PeerTls
from squire_gatherings._stores import is_postgres
from squire_gatherings._values.errors import BadSetting
from squire_gatherings._values.nodes import Node

MOST_NAME = 100

node_options = options(
    option(
        "--node-name",
        default="",
        help="What operators read of this node. Default: the machine's name and the process.",
        show_default=False,
    ),
    option(
        "--peer-host",
        default="",
        metavar="HOST",
        help="Address or name at which nodes of other machines reach this one, to relay clients.",
    ),
    option(
        "--peer-port",
        type=click.IntRange(0, 65535),
        help="Port for that; 0 picks a free one. Default: none.",
        show_default=False,
    ),
    option("--peer-tls-cert", type=FILE, help="PEM file with a certificate: TLS between nodes."),
    option("--peer-tls-key", type=FILE, help="PEM file with its key."),
    option(
        "--peer-tls-ca",
        type=FILE,
        help="PEM file by which the certificates of other nodes are trusted.",
    ),
    option(
        "--url",
        default="",
        help="Where clients reach this node and no other, ws://… or wss://…: clients that follow"
        " are sent there.",
    ),
)
"""Gives a command the options of a node."""


def check_node(options: Mapping[str, Any]) -> None:
    """Check what is said of a node.

    Raises:
        click.UsageError: It can't be so.
        BadSetting: A file can't be used.
    """
    said = [name for name in ("node-name", "peer-host", "url") if options[name.replace("-", "_")]]
    said += ["peer-port"] if options["peer_port"] is not None else []
    if said and not is_postgres(options["store"]):
        raise click.UsageError(f"--{said[0]} goes with --store postgresql://…")
    name = options["node_name"]
    if len(name) > MOST_NAME or not name.isprintable():
        raise click.UsageError(f"--node-name has at most {MOST_NAME} characters, all printable")
    if (options["peer_port"] is None) != (not options["peer_host"]):
        raise click.UsageError("--peer-host and --peer-port go together")
    if options["peer_port"] is not None and options["peer_host"] in ANY:
        raise click.UsageError("--peer-host is what other nodes reach: not all addresses at once")
    files = [options[f"peer_tls_{one}"] for one in ("cert", "ca", "key")]
    if (files[0] is None) != (files[1] is None) or (files[2] is not None and files[0] is None):
        raise click.UsageError("--peer-tls-cert and --peer-tls-ca go together, perhaps with a key")
    if files[0] is not None and options["peer_port"] is None:
        raise click.UsageError("--peer-tls-cert goes with --peer-port")
    peer_tls_of(options)
    last = (options["peer_port"] or 0) + options["workers"] - 1
    if last > 65535:
        raise click.UsageError("each worker has a port of its own, --peer-port and those after it")
    if options["url"]:
        try:
            parse_address(options["url"])
        except BadSetting as error:
            raise click.UsageError(f"--url: {error}") from None


def peer_tls_of(options: Mapping[str, Any]) -> PeerTls | None:
    """Return what secures connections between nodes, if anything. Raises `BadSetting`."""
    if options["peer_tls_cert"] is None:
        return None
    return PeerTls(options["peer_tls_cert"], options["peer_tls_key"], options["peer_tls_ca"])


def peers_of(options: Mapping[str, Any], number: int) -> PeerSettings:
    """Return where a server is reached by other nodes. Raises `BadSetting`.

    Args:
        options: Those of `serve`.
        number: Which of several workers it is.
    """
    port = options["peer_port"]
    return PeerSettings(
        host=options["peer_host"],
        port=port + number if port else port,
        url=options["url"],
        tls=peer_tls_of(options),
    )


def node_of(options: Mapping[str, Any], number: int) -> Node | None:
    """Return the node that a server is to be; None where its store is its own.

    Args:
        options: Those of `serve`.
        number: Which of several workers it is.
    """
    if not is_postgres(options["store"]):
        return None
    name = options["node_name"] or f"{platform.node()}-{os.getpid()}"
    if options["node_name"] and options["workers"] > 1:
        name = f"{name}-{number}"
    return Node(id=new_node_id(), name=name, machine=this_machine())
