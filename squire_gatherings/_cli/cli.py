"""The command line: what `squire-gatherings` and `python -m squire_gatherings` understand."""

import os
import sys

import click

from squire_gatherings._cli.backup import backup
from squire_gatherings._cli.doctor.doctor import doctor
from squire_gatherings._cli.environment import check_environment, known_variables
from squire_gatherings._cli.failures import exit_code_of
from squire_gatherings._cli.load import load
from squire_gatherings._cli.operators.ends import extend, hold, warn
from squire_gatherings._cli.operators.explain import explain
from squire_gatherings._cli.operators.putting_out import disperse, kick
from squire_gatherings._cli.operators.top import top
from squire_gatherings._cli.operators.users import revoke, role
from squire_gatherings._cli.printing import flush_stdout
from squire_gatherings._cli.removal import compact, delete
from squire_gatherings._cli.replay import replay
from squire_gatherings._cli.serve import serve
from squire_gatherings._cli.streams import open_what_is_closed
from squire_gatherings._cli.submit import submit
from squire_gatherings._cli.token import token
from squire_gatherings._cli.upgrade import upgrade
from squire_gatherings._cli.verify import verify
from squire_gatherings._cli.watch import watch
from squire_gatherings._cli.whole_logs import export, fork, import_log, list_logs, show_log


class _Commands(click.Group):
    """The commands. Before one of them runs, the environment is checked."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, left = super().resolve_command(ctx, args)
        if name != "help" and not {"-h", "--help"} & set(left):
            ctx.obj = check_environment(os.environ, known_variables(self, ctx))
        return name, command, left


@click.group(
    cls=_Commands,
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


@click.command("help")
@click.argument("command", required=False)
@click.pass_context
def show_help(context: click.Context, command: str | None) -> None:
    """Show what a command does, and its options."""
    commands = context.parent
    assert commands is not None
    if command is None:
        click.echo(commands.get_help())
        return
    found = cli.get_command(commands, command)
    if found is None:
        raise click.UsageError(f"No such command {command!r}.")
    inner = click.Context(found, info_name=command, parent=commands, **found.context_settings)
    click.echo(found.get_help(inner))


cli.add_command(serve)
cli.add_command(upgrade)
cli.add_command(watch)
cli.add_command(submit)
cli.add_command(load)
cli.add_command(top)
cli.add_command(explain)
cli.add_command(hold)
cli.add_command(extend)
cli.add_command(warn)
cli.add_command(disperse)
cli.add_command(kick)
cli.add_command(revoke)
cli.add_command(role)
cli.add_command(doctor)
cli.add_command(backup)
cli.add_command(list_logs)
cli.add_command(show_log)
cli.add_command(export)
cli.add_command(import_log)
cli.add_command(fork)
cli.add_command(replay)
cli.add_command(compact)
cli.add_command(delete)
cli.add_command(token)
cli.add_command(verify)
cli.add_command(show_help)


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
