"""`help`: what a command does, and its options."""

import click


@click.command("help")
@click.argument("command", required=False)
@click.pass_context
def show_help(context: click.Context, command: str | None) -> None:
    """Show what a command does, and its options."""
    commands = context.parent
    assert commands is not None
    assert isinstance(commands.command, click.Group)
    if command is None:
        click.echo(commands.get_help())
        return
    found = commands.command.get_command(commands, command)
    if found is None:
        raise click.UsageError(f"No such command {command!r}.")
    inner = click.Context(found, info_name=command, parent=commands, **found.context_settings)
    click.echo(found.get_help(inner))
