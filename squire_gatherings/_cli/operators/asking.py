"""Asking: one request to the admin port of a running server, and its answer or one line of why not.

The token comes from a file, and goes into a header: it never stands on a command line or in a URL.
What answers may be anybody, slow or huge: each answer has a limit of time and one of size, and must
be what the API says.
"""

import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import click
import msgspec
import trio
from attrs import define, frozen

from squire_gatherings._admin.api.end_shapes import Dispersal
from squire_gatherings._cli.admin import TOKEN_FILE
from squire_gatherings._cli.audit_log import who_runs_it
from squire_gatherings._cli.configuration import printable_path
from squire_gatherings._cli.failures import NothingThere
from squire_gatherings._cli.options import FILE, option, options

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
S = TypeVar("S")

DEFAULT = "http://127.0.0.1:8766"

EXTRA = {"httpx", "httpcore", "anyio", "h11", "certifi", "idna", "sniffio"}
"""The packages that are asked with, by the names under which they are imported."""

PATIENCE = 10.0
"""How many seconds an answer may take, from the first byte of the request on."""

DISPERSAL = 120.0
"""How many seconds a gathering may take to end: it waits for the notices of slow clients."""

LARGEST = 16 * 1024**2
"""How many bytes an answer may have."""

LONGEST_TOKEN = 1024

admin_options = options(
    option(
        "--admin",
        default=DEFAULT,
        metavar="URL",
        envvar="SQUIRE_ADMIN",
        help="Where the server's admin port is.",
    ),
    option(
        "--admin-token-file",
        default=TOKEN_FILE,
        type=FILE,
        envvar="SQUIRE_ADMIN_TOKEN_FILE",
        help="File with the operators' token.",
    ),
)
"""Gives a command the options that say which server is asked, and with which token."""

json_option = option("--json", "as_json", is_flag=True, help="Answer with JSON.")


class CannotAsk(click.ClickException):
    """The admin port can't be asked, or doesn't do what it was asked for."""


@frozen
class Answer:
    """An answer, as the API gave it."""

    value: Any
    """What it says, as the shape that was asked for."""
    json: Any
    """The same as plain JSON."""


@define(eq=False)
class AdminPort:
    """The admin port of a server, which is asked."""

    url: str
    token_file: str
    _client: "httpx.AsyncClient"

    async def get(self, path: str, shape: type[S], **query: Any) -> Answer:
        """Ask for something. Raises `CannotAsk` or `NothingThere`. Cancellation: nobody is told."""
        return await self._ask("GET", path, shape, query, None, PATIENCE)

    async def post(
        self,
        path: str,
        shape: type[S],
        body: Mapping[str, Any] | None = None,
        *,
        patience: float = PATIENCE,
    ) -> Answer:
        """Have something done. Raises as `get`. Cancellation: it may be done all the same."""
        return await self._ask("POST", path, shape, {}, body, patience)

    async def ready(self) -> dict[str, Any]:
        """Return what `/readyz` says, whether the server is ready or not. Raises as `get`."""
        good = (200, 503)
        answer = await self._ask("GET", "/readyz", dict[str, Any], {}, None, PATIENCE, good)
        ready: dict[str, Any] = answer.value
        return ready

    async def disperse(self, gathering_id: str) -> bool:
        """End a gathering, and wait until it is gone; return whether it was open.

        Raises as `post`. Cancellation: it may end all the same.
        """
        path = f"/api/v1/gatherings/{gathering_id}/disperse"
        dispersal: Dispersal = (await self.post(path, Dispersal, patience=DISPERSAL)).value
        return dispersal.dispersed

    async def _ask(
        self,
        method: str,
        path: str,
        shape: type[S],
        query: Mapping[str, Any],
        body: Mapping[str, Any] | None,
        patience: float,
        good: tuple[int, ...] = (200,),
    ) -> Answer:
        import httpx

        try:
            # Not httpx's own time limits alone: those are for each read.
            with trio.fail_after(patience):
                status, data = await self._exchange(method, path, query, body)
        except trio.TooSlowError:
            raise CannotAsk(f"{self.url} doesn't answer within {patience:g} seconds") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            why = str(error) or type(error).__name__
            raise CannotAsk(
                f"can't ask the admin port at {self.url} (--admin): {_plain(why)}"
            ) from None
        if status not in good:
            raise self._refusal(status, data)
        try:
            return Answer(msgspec.json.decode(data, type=shape), msgspec.json.decode(data))
        except (ValueError, RecursionError):
            raise CannotAsk(
                f"{self.url} answers, but not as an admin port of squire_gatherings does"
            ) from None

    async def _exchange(
        self, method: str, path: str, query: Mapping[str, Any], body: Mapping[str, Any] | None
    ) -> tuple[int, bytes]:
        data = bytearray()
        async with self._client.stream(
            method, self.url + path, params=dict(query) or None, json=body
        ) as answer:
            with trio.CancelScope() as scope:
                async for piece in answer.aiter_raw():
                    data += piece
                    if len(data) > LARGEST:
                        # What reads within httpx is left in order; `break` would abandon it.
                        scope.cancel()
            if len(data) > LARGEST:
                raise CannotAsk(f"the answer of {self.url} has more than {LARGEST} bytes")
            return answer.status_code, bytes(data)

    def _refusal(self, status: int, data: bytes) -> click.ClickException:
        try:
            said = msgspec.json.decode(data, type=_Problem)
        except (ValueError, RecursionError):
            return CannotAsk(f"{self.url} is no admin port of squire_gatherings: HTTP {status}")
        if said.code in ("not_open", "no_gathering"):
            return NothingThere(_plain(said.detail))
        if said.code == "unauthorized":
            return CannotAsk(
                f"{self.url} doesn't know the token in {printable_path(self.token_file)}"
                " (--admin-token-file)"
            )
        if said.code == "no_page":
            return CannotAsk(f"{self.url} can't do this: is it an older version?")
        return CannotAsk(_plain(said.detail or said.title))


class _Problem(msgspec.Struct):
    """What went wrong, as the API tells it."""

    title: str
    code: str
    detail: str = ""


@frozen
class PortOptions:
    """Which server is asked, and with which token."""

    url: str
    token_file: str


@asynccontextmanager
async def open_port(asked: PortOptions) -> AsyncIterator[AdminPort]:
    """Open what asks the admin port, until the block is left.

    Raises:
        CannotAsk: The URL can't be one, the token can't be read, or `httpx` isn't installed.
    """
    try:
        import httpx
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        raise CannotAsk(
            f"this needs {error.name}: pip install 'squire-gatherings[admin]'"
        ) from None
    url = check_url(asked.url)
    headers = {
        "Authorization": f"Bearer {read_token(asked.token_file)}",
        "Accept-Encoding": "identity",
        "Squire-Operator": who_runs_it().encode("ascii", "replace").decode(),
    }
    async with httpx.AsyncClient(
        headers=headers,
        # The token isn't for a proxy that the environment names.
        trust_env=False,
        verify=ssl.create_default_context() if url.startswith("https:") else False,
        timeout=None,
    ) as client:
        yield AdminPort(url, asked.token_file, client)


def asking(asked: PortOptions, ask: Callable[[AdminPort], Awaitable[T]]) -> T:
    """Run what asks the admin port, from the command line. Raises what `ask` does."""
    return trio.run(
        partial(_asking, asked, ask),
        # Otherwise Ctrl-C might strike within Trio, which would take it for a defect of its own.
        restrict_keyboard_interrupt_to_checkpoints=True,
    )


async def _asking(asked: PortOptions, ask: Callable[[AdminPort], Awaitable[T]]) -> T:
    async with open_port(asked) as port:
        return await ask(port)


def check_url(text: str) -> str:
    """Return the URL of an admin port, without a slash at its end. Raises `CannotAsk`."""
    why = f"--admin takes a URL such as {DEFAULT}"
    try:
        parts = urlsplit(text)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_good = is_good and (parts.port is None or parts.port > 0)
    except ValueError:
        raise CannotAsk(why) from None
    if "@" in parts.netloc:
        # Not shown: there may be a password in it.
        raise CannotAsk(f"{why}, without a user: the token is in --admin-token-file")
    if not is_good or parts.query or parts.fragment or not text.isprintable() or " " in text:
        raise CannotAsk(why)
    return text.rstrip("/")


def read_token(path: str) -> str:
    """Return the token that is in a file. Raises `CannotAsk`."""
    shown = printable_path(path)
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            data = (file.read(LONGEST_TOKEN + 2) or b"").strip()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise CannotAsk(
            f"can't read the operators' token in {shown} (--admin-token-file): {why}"
        ) from None
    if not 0 < len(data) <= LONGEST_TOKEN or not all(0x21 <= one <= 0x7E for one in data):
        raise CannotAsk(f"{shown} (--admin-token-file) has no token: that is one word")
    return data.decode()


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _plain(text: str) -> str:
    """Return what somebody else says as one line of a message."""
    return "".join(one if one.isprintable() else " " for one in text[:500])
