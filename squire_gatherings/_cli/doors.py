"""The doors of `serve`: TLS, proxies, how many clients may come in, and how much they may use."""

from typing import Any

import click
from attrs import frozen

from squire_gatherings._cli.ends import END_RULES
from squire_gatherings._cli.memory import memory_allowed
from squire_gatherings._cli.options import (
    COUNT,
    COUNT_OR_OFF,
    FILE,
    MEMORY,
    RATE,
    SIZE,
    SIZE_OR_OFF,
    option,
    options,
    reloaded,
)
from squire_gatherings._server import Proxies, ProxySays
from squire_gatherings._server.tls import Certificate

SPARE_FILES = 128
"""How many open files are for the store, its journal and all else that isn't a connection."""

DOOR_SHARE = 8
"""One of so many open files may be of somebody who hasn't said `join` yet."""

door_options = options(
    reloaded("--tls-cert", type=FILE, help="PEM file with the certificate: serves wss://."),
    reloaded("--tls-key", type=FILE, help="PEM file with its key. Both are read again on SIGHUP."),
    reloaded(
        "--proxy",
        "proxies",
        multiple=True,
        metavar="ADDRESS[/BITS]",
        envvar="SQUIRE_PROXY",
        help="A reverse proxy that is believed when it says whose connection it passes on."
        " Several may be given.",
    ),
    reloaded(
        "--proxy-says",
        default=ProxySays.X_FORWARDED_FOR.value,
        type=click.Choice([one.value for one in ProxySays]),
        help="How it says so: the header that it sets, or the PROXY protocol (v1 or v2).",
    ),
    reloaded(
        "--rate-limit-bytes", default="off", type=SIZE_OR_OFF, help="Bytes per second and client."
    ),
    reloaded("--rate-limit-ops", default="off", type=RATE, help="Ops per second and client."),
    reloaded(
        "--max-connections", default="100000", type=COUNT_OR_OFF, help="Clients; more get 503."
    ),
    reloaded(
        "--max-connections-per-address",
        default="10000",
        type=COUNT_OR_OFF,
        help="Clients of one address (of IPv6: of one /64).",
    ),
    reloaded(
        "--max-connections-per-user", default="1000", type=COUNT_OR_OFF, help="Clients of one user."
    ),
    reloaded(
        "--max-connections-per-gathering",
        default="10000",
        type=COUNT_OR_OFF,
        help="Clients in one gathering.",
    ),
    reloaded(
        "--max-handshakes",
        default="4000",
        type=COUNT_OR_OFF,
        help="Connections that haven't said join yet; the one silent longest gives way.",
    ),
    reloaded(
        "--max-handshakes-per-address",
        default="1000",
        type=COUNT_OR_OFF,
        help="Such connections of one address.",
    ),
    reloaded("--max-gatherings", default="100000", type=COUNT_OR_OFF, help="Open at once."),
    reloaded(
        "--max-gatherings-per-user",
        default="10000",
        type=COUNT_OR_OFF,
        help="Opened by one user, or by the anonymous clients of one address.",
    ),
    option(
        "--when-full",
        default="refuse",
        type=click.Choice(["refuse", "stalest"]),
        help="One gathering too many is refused, or the one ends that nobody is connected to"
        " for longest.",
    ),
    reloaded("--max-ops", default="1000", type=COUNT, help="Ops of one sync."),
    reloaded("--max-log-ops", default="off", type=COUNT_OR_OFF, help="Ops of one gathering's log."),
    reloaded("--max-log", default="off", type=SIZE_OR_OFF, help="Bytes of its ops, as JSON."),
    reloaded(
        "--max-backlog", default="1MiB", type=SIZE, help="Bytes that may wait for a slow reader."
    ),
    reloaded(
        "--inbox-limit", default="64", type=COUNT, help="Messages of one client that may wait."
    ),
    reloaded(
        "--inbox-bytes", default="512KiB", type=SIZE, help="Memory that they may take, about."
    ),
    reloaded(
        "--max-memory",
        default="50%",
        type=MEMORY,
        help="What connections and gatherings may hold in memory, as far as it's counted.",
    ),
    reloaded(
        "--max-outbound", default="off", type=SIZE_OR_OFF, help="Of it, for slow readers together."
    ),
)
"""Gives a command the options of TLS, proxies and limits."""


@frozen
class Doors:
    """What the options ask for."""

    certificate: Certificate | None
    """None serves without TLS."""
    server: dict[str, Any]
    """Fields of `ServerSettings`."""
    hall: dict[str, Any]
    """Fields of `HallSettings`."""


_HALL = (
    "max_connections_per_user",
    "max_connections_per_gathering",
    "max_gatherings",
    "max_gatherings_per_user",
    "when_full",
    "max_ops",
    "inbox_limit",
    "inbox_bytes",
    "max_log_ops",
    "max_log",
    "max_outbound",
)


def make_doors(options: dict[str, Any], open_files: int | None) -> Doors:
    """Read the certificate, and make the doors that the options ask for.

    Args:
        options: The values of `door_options` and `end_options`, by name.
        open_files: How many files the process may have open; None for any number.

    Raises:
        click.UsageError: The options contradict each other.
        BadSetting: The certificate can't be used, or a proxy has no such address.
    """
    if options["tls_key"] is not None and options["tls_cert"] is None:
        raise click.UsageError("--tls-key goes with --tls-cert")
    certificate = None
    if options["tls_cert"] is not None:
        certificate = Certificate(options["tls_cert"], options["tls_key"])
    if options["proxy_says"] != ProxySays.X_FORWARDED_FOR and not options["proxies"]:
        raise click.UsageError("--proxy-says goes with --proxy")
    connections, handshakes = options["max_connections"], options["max_handshakes"]
    if open_files is not None:
        # Where no file can be opened, no client can be told why.
        most = max(1, open_files // DOOR_SHARE)
        handshakes = most if handshakes is None else min(handshakes, most)
        most = max(1, open_files - handshakes - SPARE_FILES)
        connections = most if connections is None else min(connections, most)
    memory = options["max_memory"]
    if isinstance(memory, float):
        memory = max(1, int(memory_allowed() * memory))
    if memory is not None:
        # It's for all workers together.
        memory = max(1, memory // options["workers"])
    return Doors(
        certificate,
        {
            "max_connections": connections,
            "max_connections_per_address": options["max_connections_per_address"],
            "max_handshakes": handshakes,
            "max_handshakes_per_address": options["max_handshakes_per_address"],
            "max_backlog": options["max_backlog"],
            "rate_bytes": options["rate_limit_bytes"],
            "rate_ops": options["rate_limit_ops"],
            "proxies": Proxies(options["proxies"], options["proxy_says"]),
        },
        {name: options[name] for name in (*_HALL, *END_RULES)} | {"max_memory": memory},
    )
