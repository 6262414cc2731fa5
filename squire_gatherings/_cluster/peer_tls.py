"""TLS between nodes: a certificate for those that connect to us, and an authority for theirs.

Who somebody is, both still prove by the secret. Files are read for each new connection, of which
there are few: so a certificate that was renewed counts at once.
"""

import logging
import ssl

from attrs import define, field

from squire_gatherings._server.tls import server_context
from squire_gatherings._values.errors import BadSetting

_log = logging.getLogger(__name__)


@define(eq=False)
class PeerTls:
    """Files by which nodes of several machines trust each other. Raises `BadSetting`."""

    certificate: str
    """A PEM file with this node's certificate, and those that lead to the authority."""
    key: str | None
    """A PEM file with its key; None if that's in the same file."""
    authority: str
    """A PEM file with the certificates by which those of other nodes are trusted."""
    _server: ssl.SSLContext = field(init=False)
    """As of when the files could be used last."""
    _client: ssl.SSLContext = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Read the files. Raises `BadSetting` where they can't be used."""
        self._server = server_context(self.certificate, self.key)
        self._client = _trusting(self.authority)

    def server(self) -> ssl.SSLContext:
        """Return what secures a connection of another node to us."""
        try:
            self._server = server_context(self.certificate, self.key)
        except BadSetting as error:
            _log.error(
                "the files of TLS between nodes stay the old ones", extra={"why": str(error)}
            )
        return self._server

    def client(self) -> ssl.SSLContext:
        """Return what secures a connection of ours to another node."""
        try:
            self._client = _trusting(self.authority)
        except BadSetting as error:
            _log.error(
                "the files of TLS between nodes stay the old ones", extra={"why": str(error)}
            )
        return self._client


def _trusting(authority: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=authority)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise BadSetting(f"can't trust nodes by {authority[:500]}: {why}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
