"""A serving process with an admin port, and commands that ask it from within the tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import frozen

from squire_gatherings._cli.cli import cli
from squire_gatherings._cli.failures import exit_code_of
from tests.cli.process import serving

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
    more = ("--store", "memory:", "--admin-port", "0", "--admin-token-file", token)
    with serving(*more, *options) as (process, url):
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(ADMIN), line
        yield Served(url, line.removeprefix(ADMIN).partition(",")[0], token)


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run a command in this process; return its exit code and what it printed."""
    try:
        code = cli.main(list(arguments), prog_name="squire-gatherings", standalone_mode=False) or 0
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException as error:
        told = exit_code_of(error)
        if told is None:
            raise
        code = told
    out, err = capsys.readouterr()
    return code, out, err
