"""A serving process with an admin port."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from tests.forked import serving

ADMIN = "squire_gatherings admin port on "


@frozen
class Served:
    """A server that runs."""

    url: str
    admin: str
    token_file: str

    @property
    def options(self) -> tuple[str, ...]:
        """The options of commands that ask it."""
        return ("--admin", self.admin, "--admin-token-file", self.token_file)


@contextmanager
def an_admin_server(folder: Path, *options: str) -> Iterator[Served]:
    """Serve until the block is left."""
    token = str(folder / "token")
    store = () if "--store" in options else ("--store", "memory:")
    more = (*store, "--admin-port", "0", "--admin-token-file", token)
    with serving(*more, *options) as (process, url):
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(ADMIN), line
        yield Served(url, line.removeprefix(ADMIN).partition(",")[0], token)
