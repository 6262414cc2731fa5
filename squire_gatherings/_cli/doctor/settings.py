"""Checks of the settings: options, the environment, the file; keys and the certificate."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from squire_gatherings._cli.doctor.findings import Finding, fail, ok, warn
from squire_gatherings._cli.serve import serve
from squire_gatherings._cli.setup import Setup, make_setup
from squire_gatherings._stores import check_store
from squire_gatherings._values.errors import BadSetting
from squire_gatherings._values.origins import is_loopback

SOON = timedelta(days=21)
"""A certificate should be renewed so long before it expires."""


def read_options(
    context: click.Context, arguments: Sequence[str]
) -> tuple[Mapping[str, Any] | None, Finding | None]:
    """Return the options that `serve` would have, or what is wrong with one of them.

    Args:
        context: That of the command.
        arguments: What `serve` would be given.
    """
    try:
        with serve.make_context("serve", list(arguments), parent=context.parent) as served:
            return served.params, None
    except click.ClickException as error:
        return None, fail("settings", error.format_message(), "mend this option of serve")


def read_setup(
    options: Mapping[str, Any], open_files: int | None
) -> tuple[Setup | None, list[Finding]]:
    """Return what the options come to, or what is wrong with them together."""
    try:
        setup = make_setup(options, open_files)
        check_store(options["store"])
    except (click.ClickException, BadSetting) as error:
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        return None, [fail("settings", text, "mend these options of serve")]
    findings = [ok("settings", "all options of serve fit together")]
    authenticator = setup.auth.authenticator
    if authenticator is not None:
        findings.append(ok("keys", f"tokens are checked with {authenticator.keys} keys"))
    elif not is_loopback(setup.auth.host):
        says = "anybody who reaches the server may read and write everything"
        findings.append(warn("keys", says, "use --auth jwt"))
    else:
        findings.append(ok("keys", "no tokens are checked, but only this machine is let in"))
    return setup, findings


def check_certificate(options: Mapping[str, Any], now: datetime | None = None) -> Iterator[Finding]:
    """Check for how long the certificate is good. That the key is its own is known by then."""
    path = options["tls_cert"]
    if path is None:
        return
    try:
        from cryptography.x509 import load_pem_x509_certificates
    except ModuleNotFoundError:
        do = "pip install cryptography"
        yield warn("certificate", "its key fits; when it expires can't be told", do)
        return
    try:
        certificate = load_pem_x509_certificates(Path(path).read_bytes())[0]
    except (OSError, ValueError) as error:
        yield fail("certificate", f"{path} can't be read: {error}", "make a new one")
        return
    now = datetime.now(UTC) if now is None else now
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if ends <= now:
        yield fail("certificate", f"{path} expired at {ends:%Y-%m-%dT%H:%M:%SZ}", "renew it")
    elif begins > now:
        says = f"{path} is good from {begins:%Y-%m-%dT%H:%M:%SZ} on, and not before"
        yield fail("certificate", says, "look at the clock")
    elif ends - now < SOON:
        says = f"{path} expires at {ends:%Y-%m-%dT%H:%M:%SZ}"
        yield warn("certificate", says, "renew it, then send SIGHUP")
    else:
        yield ok("certificate", f"{path} and its key fit, good until {ends:%Y-%m-%d}")
