"""The command line: what `squire-gatherings` and `python -m squire_gatherings` understand."""

import sys

import click

from squire_gatherings.programs.failures import exit_code_of
from squire_gatherings.programs.load.command import load
from squire_gatherings.programs.serve import serve
from squire_gatherings.programs.submit import submit
from squire_gatherings.programs.watch import watch


# Without `no_args_is_help`, a missing command is an error of one line like any other.
@click.group(
    context_settings={"auto_envvar_prefix": "SQUIRE", "max_content_width": 96},
    no_args_is_help=False,
)
@click.version_option(package_name="squire-gatherings", message="%(prog)s %(version)s")
def cli() -> None:
    """Live rooms that end on time.

    A gathering is the crowd around one live tournament. Clients reach it by WebSocket at
    ws://HOST:PORT/gatherings/ID; when nobody has used it for a day, it tells everybody
    and is gone from memory, and the next one who joins finds everything again.
    """


cli.add_command(serve)
cli.add_command(watch)
cli.add_command(submit)
cli.add_command(load)


def main() -> None:
    """Run the command line; what is wrong is said in one line, with exit code 2."""
    try:
        code = cli.main(prog_name="squire-gatherings", standalone_mode=False) or 0
        sys.stdout.flush()
    except SystemExit:
        raise
    except BaseException as error:
        code = exit_code_of(error)
        if code is None:
            raise
    sys.exit(code)
