"""The commands: where each is, and what the help of all of them says about it.

A command's module is imported when the command is looked up: each needs other parts of the library,
and who asks for help needs none.
"""

from collections.abc import Iterator, MutableMapping
from importlib import import_module

import click

COMMANDS = {
    "backup": ("backup:backup", "Copy a store to a new file, also while it is served."),
    "compact": ("removal:compact", "Leave out the first ops of gatherings, for good."),
    "conform": ("conform:conform", "Certify a client: play it through the whole protocol."),
    "delete": ("removal:delete", "Delete gatherings from a store."),
    "disperse": ("operators.putting_out:disperse", "End a gathering now, with a notice to all."),
    "doctor": ("doctor.doctor:doctor", "Look for what is easily wrong around a server."),
    "drain": ("operators.nodes:drain", "Have a server give all it has to the other nodes."),
    "explain": ("operators.explain:explain", "Tell why a gathering is alive, and when it ends."),
    "export": ("whole_logs:export", "Write the log of a gathering as JSON lines."),
    "extend": ("operators.ends:extend", "Put the end of a gathering off, by a duration."),
    "fork": ("whole_logs:fork", "Make a new gathering of a log, up to a point."),
    "help": ("help:show_help", "Show what a command does, and its options."),
    "hold": ("operators.ends:hold", "Let no rule end a gathering before a time."),
    "import": ("whole_logs:import_log", "Take a log that `export` wrote into a store."),
    "kick": ("operators.putting_out:kick", "Put a user out: close all connections of that user."),
    "list": ("whole_logs:list_logs", "List the gatherings of a store."),
    "load": ("load:load", "Put a load on a server, and check all that its clients see."),
    "nodes": ("operators.nodes:nodes", "List the nodes that share a server's database."),
    "replay": ("replay:replay", "Print the ops of a gathering again, in their own rhythm."),
    "revoke": ("operators.users:revoke", "Take a user's rights in every gathering, for a time."),
    "role": ("operators.users:role", "Give a user another role."),
    "serve": ("serve:serve", "Serve gatherings until SIGINT or SIGTERM."),
    "show": ("whole_logs:show_log", "Show what a store has of a gathering."),
    "submit": ("submit:submit", "Submit an op to a gathering."),
    "token": ("token:token", "Print a token for a server that runs with --auth jwt."),
    "top": ("operators.top:top", "Show the hall live: gatherings, what is left to them, ends."),
    "upgrade": ("upgrade:upgrade", "Have a server go on in a new process, of a new version."),
    "verify": ("verify:verify", "Verify that a store has what was committed to it."),
    "warn": ("operators.ends:warn", "Tell the clients of a gathering now when it ends."),
    "watch": ("watch:watch", "Print what happens in a gathering, live."),
}
"""By name: the module and the object in it, and what it does, in one line."""


class Commands(MutableMapping[str, click.Command]):
    """Commands by name: those of `COMMANDS`, and others that are added."""

    def __init__(self) -> None:
        self._added: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name in self._added:
            return self._added[name]
        place, _ = COMMANDS[name]
        module, _, attribute = place.partition(":")
        command: click.Command = getattr(import_module(f"{__package__}.{module}"), attribute)
        return command

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._added[name] = command

    def __delitem__(self, name: str) -> None:
        del self._added[name]

    def __iter__(self) -> Iterator[str]:
        yield from sorted({*COMMANDS, *self._added})

    def __len__(self) -> int:
        return len({*COMMANDS, *self._added})
