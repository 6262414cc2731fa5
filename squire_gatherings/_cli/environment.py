"""The environment: `SQUIRE_…` variables set options, or an orchestrator has set them by itself."""

import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from difflib import SequenceMatcher

import click

PREFIX = "SQUIRE_"

TAKE_OVER = "_SQUIRE_TAKE_OVER"
"""Has the descriptor of a channel to the process that has started this one to go on for it."""

WORKER = "_SQUIRE_WORKER"
"""Has what a worker is told by the process that has started it."""

_LINK = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_[A-Z]+(_[A-Z]+)*)$")
_LINK_ADDRESS = re.compile(r"(tcp|udp|sctp)://")
_LINK_NAME = re.compile(r"(/[\w.-]+){2,}")


def known_variables(group: click.Group, context: click.Context, first: str) -> Iterator[str]:
    """Yield the names of the variables that set an option of any command, the first one's first."""
    for name in (first, *group.list_commands(context)):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context, **command.context_settings)
        for option in command.params:
            if not isinstance(option, click.Option) or option.name is None:
                continue
            if isinstance(option.envvar, str):
                yield option.envvar
            elif option.allow_from_autoenv:
                yield f"{inner.auto_envvar_prefix}_{option.name.upper()}"


def check_environment(
    environment: MutableMapping[str, str], known: Iterable[str]
) -> tuple[str, ...]:
    """Take the service links out of the environment.

    If a service is called squire (or squire-anything), Kubernetes sets `SQUIRE_PORT` to
    `tcp://10.0.0.1:8765` in each container, and `SQUIRE_SERVICE_HOST`, `SQUIRE_PORT_8765_TCP` …
    Docker's old links set the same, and `SQUIRE_NAME=/web/squire`, and `SQUIRE_ENV_…` for each
    variable of the other container.

    Args:
        environment: Variables by name; the links are deleted.
        known: The names that set an option. No more are taken than it needs.

    Returns:
        The names of the links.

    Raises:
        click.UsageError: A variable is neither an option nor a link: it is misspelt.
    """
    ours = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
    links = tuple(sorted(_links(ours)))
    unknown = ours.keys() - set(links)
    seen: set[str] = set()
    for name in known if unknown else ():
        seen.add(name)
        unknown.discard(name)
        if not unknown:
            break
    for name in sorted(unknown):
        nearest = max(seen, key=lambda one: (SequenceMatcher(None, name, one).ratio(), one))
        raise click.UsageError(f"the environment has {name}, which sets no option; {nearest} does")
    for name in links:
        del environment[name]
    return links


def _links(variables: Mapping[str, str]) -> set[str]:
    found: set[str] = set()
    copies: tuple[str, ...] = ()
    for name, value in variables.items():
        if _LINK.search(name) or (name.endswith("_PORT") and _LINK_ADDRESS.match(value)):
            found.add(name)
        elif name.endswith("_NAME") and _LINK_NAME.fullmatch(value):
            found.add(name)
            copies += (f"{name.removesuffix('NAME')}ENV_",)
    return found | {name for name in variables if name.startswith(copies)}
