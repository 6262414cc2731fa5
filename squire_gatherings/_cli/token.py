"""`token`: mints a token for trying, and the key that signs it."""

import math
import time

import click

from squire_gatherings._cli.options import DURATION, FILE, option
from squire_gatherings._cli.printing import print_line

EXTRA = {"joserfc", "cryptography", "cffi", "_cffi_backend"}


@click.command("token")
@option("--key", type=FILE, help="File with the private PEM key, or the secret, that signs.")
@option(
    "--new-key", type=FILE, help="Make that file, with a key that nobody else has, and FILE.pub."
)
@option("--user", help="Whom others see as the author: the token's sub.")
@option("--role", default="member", help="What the user may do: member, observer, or your own.")
@option(
    "--gathering",
    "gatherings",
    multiple=True,
    metavar="PATTERN",
    help="Which gatherings it is good for: an id, or a beginning and * ('club-7-*', '*')."
    " Several may be given.",
)
@option("--valid", default="1h", type=DURATION, help="How long it is good.")
@option("--audience", help="Its aud, as --jwt-audience of the server.")
@option("--issuer", help="Its iss, as --jwt-issuer of the server.")
def token(
    key: str | None,
    new_key: str | None,
    user: str | None,
    role: str,
    gatherings: tuple[str, ...],
    valid: float,
    audience: str | None,
    issuer: str | None,
) -> None:
    """Print a token for a server that runs with --auth jwt, and nothing else.

    It is for trying, and for scripts. A token makes its bearer that user until it expires, and
    the key makes its owner any user. Keep it away from the server, which needs only FILE.pub.

    \b
    Examples:
      squire-gatherings token --new-key squire.key
      squire-gatherings serve --auth jwt --jwt-key squire.key.pub
      squire-gatherings token --key squire.key --user alice --gathering '*'
    """
    if (key is None) is (new_key is None):
        raise click.UsageError("give either --key FILE or --new-key FILE")
    if user is None and (key is not None or gatherings):
        raise click.UsageError("a token needs a --user")
    if user is not None and not gatherings:
        raise click.UsageError("a token needs a --gathering ('*' for all)")
    if not valid:
        raise click.UsageError("--valid must be above 0")
    try:
        from squire_gatherings._auth.minting import make_key, mint
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        raise click.ClickException(
            "token needs joserfc: pip install 'squire-gatherings[jwt]'"
        ) from None
    file = key or new_key
    assert file is not None
    if new_key is not None:
        make_key(new_key)
    if user is None:
        return
    now = int(time.time())
    claims = {
        "sub": user,
        "role": role,
        "gatherings": list(gatherings),
        "iat": now,
        "exp": now + math.ceil(valid),
        "aud": audience,
        "iss": issuer,
    }
    print_line(mint(file, {name: value for name, value in claims.items() if value is not None}))
