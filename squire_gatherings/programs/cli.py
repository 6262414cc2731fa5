"""The command line: what `squire-gatherings` and `python -m squire_gatherings` understand."""

import sys

import click

from squire_gatherings.programs.backup import backup
from squire_gatherings.programs.load.command import load
from squire_gatherings.programs.serve import CannotListen, serve
from squire_gatherings.programs.submit import submit
from squire_gatherings.programs.watch import watch
from squire_gatherings.values.errors import GatheringsError


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
cli.add_command(backup)


def main() -> None:
    """Run the command line; what is wrong is said in one line, with exit code 2."""
    try:
        sys.exit(cli.main(prog_name="squire-gatherings", standalone_mode=False) or 0)
    except click.ClickException as error:
        _complain(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except (GatheringsError, CannotListen) as error:
        _complain(str(error))


def _complain(message: str) -> None:
    print(f"squire_gatherings: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
