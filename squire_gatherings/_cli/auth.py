"""Who may come in at `serve`: everybody, or clients with a signed token."""

import logging

import click
from attrs import frozen

from squire_gatherings._auth.authenticator import JwtAuthenticator
from squire_gatherings._cli.options import FILE, option, options, reloaded
from squire_gatherings._values.origins import ANY_ORIGIN, is_loopback

_log = logging.getLogger(__name__)

auth_options = options(
    option(
        "--auth",
        default="none",
        type=click.Choice(["none", "jwt"]),
        help="Who may do what. none: ANYBODY WHO REACHES THE SERVER MAY READ AND WRITE EVERYTHING,"
        " so --host must be this machine. jwt: clients need a token that --jwt-key has signed.",
    ),
    option(
        "--insecure",
        is_flag=True,
        help="With --auth none: let --host be an address that other machines reach.",
    ),
    reloaded(
        "--jwt-key",
        "jwt_keys",
        multiple=True,
        type=FILE,
        envvar="SQUIRE_JWT_KEY",
        help="File with PEM keys, a JWKS or a secret. Several may be given. Read again on SIGHUP.",
    ),
    reloaded("--jwt-audience", help="What a token's aud must have."),
    reloaded("--jwt-issuer", help="What a token's iss must be."),
    reloaded("--token-cookie", metavar="NAME", help="Cookie that may have the token."),
    reloaded(
        "--allow-origin",
        "allow_origins",
        multiple=True,
        metavar="ORIGIN",
        envvar="SQUIRE_ALLOW_ORIGIN",
        help="Web pages that may come: https://example.com; * for all. Several may be given."
        " Default: those of the same host.",
    ),
)
"""Gives a command the options that say who may come in."""


@frozen
class Auth:
    """Who may come in, as the options say."""

    authenticator: JwtAuthenticator | None
    """None lets everybody in."""

    host: str

    def log(self) -> None:
        """Say at the start who may come in."""
        if self.authenticator is None:
            _log.warning(
                "nobody is asked who they are: anybody who reaches this server may read and write"
                " every gathering",
                extra={"auth": "none", "host": self.host},
            )
        else:
            _log.info("tokens are checked", extra={"auth": "jwt", "keys": self.authenticator.keys})


def make_auth(
    *,
    auth: str,
    host: str,
    insecure: bool,
    jwt_keys: tuple[str, ...],
    jwt_audience: str | None,
    jwt_issuer: str | None,
    token_cookie: str | None,
    allow_origins: tuple[str, ...],
) -> Auth:
    """Read the keys, and make what the options ask for.

    Raises:
        click.UsageError: The options contradict each other, or leave the server open to others.
        BadSetting: What `JwtAuthenticator` raises.
    """
    given = {
        "--jwt-key": jwt_keys,
        "--jwt-audience": jwt_audience,
        "--jwt-issuer": jwt_issuer,
        "--token-cookie": token_cookie,
    }
    if auth == "none":
        for name, value in given.items():
            if value:
                raise click.UsageError(f"{name} goes with --auth jwt")
        if not insecure and not _is_this_machine(host):
            raise click.UsageError(
                f"--host {host[:80]} may let others in, and with --auth none anybody may read and"
                " write everything: use --auth jwt, or --insecure if that is what you want"
            )
        return Auth(None, host)
    if insecure:
        raise click.UsageError("--insecure goes with --auth none")
    if not jwt_keys:
        raise click.UsageError("--auth jwt needs a --jwt-key")
    if token_cookie and ANY_ORIGIN in allow_origins:
        raise click.UsageError(
            "--token-cookie with --allow-origin '*' would let any web page act as its visitor"
        )
    return Auth(
        JwtAuthenticator(
            jwt_keys,
            audience=jwt_audience,
            issuer=jwt_issuer,
            cookie=token_cookie,
            allow_origins=allow_origins or None,
        ),
        host,
    )


def _is_this_machine(host: str) -> bool:
    # A name below localhost may be looked up anywhere.
    return is_loopback(host) and not host.endswith(".localhost")
