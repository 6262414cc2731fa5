"""The command line: what `squire-gatherings` and `python -m squire_gatherings` understand."""

import os
import sys

import click

from squire_gatherings._cli.commands import COMMANDS, Commands
from squire_gatherings._cli.environment import check_environment, known_variables
from squire_gatherings._cli.failures import exit_code_of
from squire_gatherings._cli.printing import flush_stdout
from squire_gatherings._cli.streams import open_what_is_closed


class _Commands(click.Group):
    """The commands. Before one of them runs, the environment is checked."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, left = super().resolve_command(ctx, args)
        if name is not None and name != "help" and not {"-h", "--help"} & set(left):
            ctx.obj = check_environment(os.environ, known_variables(self, ctx, name))
        return name, command, left

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in sorted(COMMANDS.items())])


@click.group(
    cls=_Commands,
    commands=Commands(),
    context_settings={
        "auto_envvar_prefix": "SQUIRE",
        "help_option_names": ["-h", "--help"],
        "max_content_width": 96,
    },
    invoke_without_command=True,
)
@click.version_option(package_name="squire-gatherings", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Live rooms that end on time.

    A gathering is the crowd around one live tournament. Clients reach it by WebSocket at
    ws://HOST:PORT/gatherings/ID. When nobody has used it for a day, it tells everybody
    and is gone from memory. The next one who joins finds everything again.

    \b
    To begin with:
      squire-gatherings serve
      squire-gatherings watch ws://127.0.0.1:8765 friday-night
      squire-gatherings submit ws://127.0.0.1:8765 friday-night '{"table": 12}'
      squire-gatherings help serve
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main() -> None:
    """Run the command line, and exit. What is wrong is said in one line, with exit code 2."""
    open_what_is_closed()
    try:
        code = cli.main(prog_name="squire-gatherings", standalone_mode=False) or 0
        flush_stdout()
    except SystemExit:
        raise
    except BaseException as error:
        code = exit_code_of(error)
        if code is None:
            raise
    sys.exit(code)
