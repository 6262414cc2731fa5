"""TLS: the certificate that the server shows, which may be renewed while it serves."""

import os
import ssl
import stat
from collections.abc import Callable

from attrs import define, field

from squire_gatherings._values.errors import BadSetting

TlsContext = ssl.SSLContext | Callable[[], ssl.SSLContext]
"""What each new connection is secured with; a function is asked for each of them."""


def server_context(certificate: str, key: str | None = None) -> ssl.SSLContext:
    """Return a context with modern defaults: TLS 1.2 or later, forward secrecy, no renegotiation.

    Args:
        certificate: The path of a PEM file: the certificate, and those between it and the root.
        key: That of its private key; None if it's in the same file.

    Raises:
        BadSetting: They can't be read, or don't belong together; or the key has a passphrase.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    # What we speak, where a client asks; another protocol's client is told so.
    context.set_alpn_protocols(["http/1.1"])
    for file in filter(None, (certificate, key)):
        _check_file(file)
    try:
        # Without a function OpenSSL would ask at the terminal.
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        raise _cannot_use(*_trouble(certificate, key, error)) from None
    return context


def _cannot_use(file: str, why: object) -> BadSetting:
    return BadSetting(f"can't use the certificate: {file[:500]}: {why}")


def _check_file(file: str) -> None:
    """Raise `BadSetting` unless it is a file that can be read: a pipe would be waited for."""
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):
            raise _cannot_use(file, "is not a file")
        with open(file, "rb"):
            pass
    except OSError as error:
        raise _cannot_use(file, error.strerror) from None


def _trouble(certificate: str, key: str | None, error: Exception) -> tuple[str, object]:
    """Return which of the files can't be used, and why: OpenSSL doesn't say it."""
    if not isinstance(error, ssl.SSLError):
        return key or certificate, error
    if error.reason == "KEY_VALUES_MISMATCH":
        return key or certificate, f"the key isn't that of the certificate in {certificate[:500]}"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(certificate)
    except (OSError, ValueError):
        return certificate, "there is no PEM certificate in it that is whole"
    return key or certificate, "there is no PEM key in it that is whole"


def _no_password() -> str:
    raise ValueError("the key has a passphrase; it must have none")


@define(eq=False)
class Certificate:
    """A certificate from files. Called, it returns the context that counts now."""

    certificate: str
    key: str | None = None
    _context: ssl.SSLContext = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.reload()

    def __call__(self) -> ssl.SSLContext:
        return self._context

    def reload(self) -> None:
        """Read the files again. New connections get what is there now.

        Raises:
            BadSetting: See `server_context`. The certificate from before stays then.
        """
        self._context = server_context(self.certificate, self.key)
