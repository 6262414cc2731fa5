"""The webhook of `serve`: where lifecycle events are posted, and the file with its secret."""

import logging
import os
import stat
from collections.abc import Sequence

import click
from attrs import frozen

from squire_gatherings._cli.options import FILE, option, options, reloaded
from squire_gatherings._values.errors import BadSetting
from squire_gatherings._webhook.signing import Signer
from squire_gatherings._webhook.webhook import Webhook

_log = logging.getLogger(__name__)

LARGEST_FILE = 4096
"""How many bytes the file with the secrets has at most."""

webhook_options = options(
    option(
        "--webhook",
        metavar="URL",
        show_default=False,
        help="Where lifecycle events are posted: gatherings that opened, emptied, ended.",
    ),
    option(
        "--webhook-secret-file",
        type=FILE,
        show_default=False,
        help="File with the secret that signs them (whsec_…); several while one takes another's"
        " place, a line each. Read again on SIGHUP.",
    ),
    reloaded(
        "--max-events",
        default=1_000_000,
        type=click.IntRange(1000, 2**53 - 1),
        help="Events that may wait for the webhook; with more, no gathering is opened.",
    ),
)
"""Gives a command the options of a webhook."""


@frozen(repr=False)
class WebhookSetup:
    """The webhook that the options ask for."""

    url: str
    secrets: Sequence[str]

    def open(self) -> Webhook:
        """Make it."""
        # It would tell the URL, with each request.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        return Webhook(self.url, self.secrets)


def make_webhook(url: str | None, file: str | None) -> WebhookSetup | None:
    """Return what the options ask for, checked; None for no webhook. Waits for the file.

    Raises:
        click.UsageError: One of them lacks the other.
        BadSetting: The URL, the file or a secret can't be used, or `httpx` isn't installed.
    """
    if url is None and file is None:
        return None
    if url is None or file is None:
        raise click.UsageError("--webhook and --webhook-secret-file go together")
    secrets = read_secrets(file)
    Webhook(url, secrets)
    return WebhookSetup(url, secrets)


def read_secrets(file: str) -> list[str]:
    """Return the lines of a file, and wait for it. Raises `BadSetting`, which names the file."""
    try:
        # A pipe that nobody writes to would be waited for.
        number = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with open(number, "rb") as opened:
            mode = os.fstat(number).st_mode
            data = opened.read(LARGEST_FILE + 1) if stat.S_ISREG(mode) else b""
    except OSError as error:
        raise BadSetting(f"{file}: {error.strerror or 'cannot be read'}") from None
    if not stat.S_ISREG(mode) or len(data) > LARGEST_FILE:
        raise BadSetting(f"{file}: is no file of at most {LARGEST_FILE} bytes")
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        why = f"{file}: others than its owner may read this secret (chmod 600)"
        _log.warning("a key file isn't safe", extra={"why": why})
    secrets = data.decode(errors="replace").split()
    try:
        Signer.of(secrets)
    except BadSetting as error:
        raise BadSetting(f"{file}: {error}") from None
    return secrets
