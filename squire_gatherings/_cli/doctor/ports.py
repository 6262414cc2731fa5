"""Checks of ports: whether they can be listened on, or a server of ours does so already."""

import errno

import trio

from squire_gatherings._cli.doctor.findings import Finding, fail, ok
from squire_gatherings._cli.doctor.sockets import CannotOpen, open_socket, unverified
from squire_gatherings._server.listening import listen


async def check_port(check: str, host: str, port: int, scheme: str | None) -> Finding:
    """Check whether a port is free.

    Args:
        check: What is checked.
        host: The address or name that would be listened on.
        port: The port.
        scheme: `ws` or `wss` if clients come to it; None for the operators' port.

    Cancellation: the port is as it was.
    """
    where = f"{host} port {port}"
    if not port:
        return ok(check, f"{host}, any free port")
    try:
        for listener in await listen(host, port):
            listener.close()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if getattr(error, "errno", None) != errno.EADDRINUSE:
            return fail(check, f"can't listen on {where}: {reason}", "name another one")
        if scheme is None:
            return ok(check, f"{where} is in use")
        if await trio.to_thread.run_sync(_is_ours, f"{scheme}://{reached(host)}:{port}"):
            return ok(check, f"a squire_gatherings server listens on {where} already")
        return fail(check, f"another program listens on {where}", "stop it, or name another --port")
    return ok(check, f"{where} is free")


def _is_ours(url: str) -> bool:
    try:
        # Its certificate is for another name than this.
        with open_socket(url, ssl=unverified(url)):
            return True
    except CannotOpen:
        return False


def reached(host: str) -> str:
    """Return an address at which what listens on `host` is reached from here."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"[{host}]" if ":" in host else host
