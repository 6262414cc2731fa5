"""The environment: `SQUIRE_…` variables are options, or what an orchestrator set by itself."""

import re
from collections.abc import Collection, MutableMapping
from difflib import SequenceMatcher

import click

PREFIX = "SQUIRE_"

_LINK = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_[A-Z]+(_[A-Z]+)?)$")
_LINK_PORT = re.compile(r"_PORT$")
_LINK_ADDRESS = re.compile(r"(tcp|udp|sctp)://")


def known_variables(group: click.Group, context: click.Context) -> set[str]:
    """Return the names of the variables that set an option of any command."""
    known: set[str] = set()
    for name, command in group.commands.items():
        inner = click.Context(command, info_name=name, parent=context, **command.context_settings)
        for option in command.params:
            if not isinstance(option, click.Option) or option.name is None:
                continue
            if isinstance(option.envvar, str):
                known.add(option.envvar)
            elif option.allow_from_autoenv:
                known.add(f"{inner.auto_envvar_prefix}_{option.name.upper()}")
    return known


def check_environment(
    environment: MutableMapping[str, str], known: Collection[str]
) -> tuple[str, ...]:
    """Take out the service links; return their names. Raises `click.UsageError` for a misspelling.

    A service that is called squire (or squire-anything) makes Kubernetes set `SQUIRE_PORT` to
    `tcp://10.0.0.1:8765` in each container, and `SQUIRE_SERVICE_HOST`, `SQUIRE_PORT_8765_TCP` …
    """
    ours = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
    links = tuple(sorted(name for name, value in ours.items() if _is_link(name, value)))
    for name in sorted(ours.keys() - known - set(links)):
        nearest = max(known, key=lambda one: (SequenceMatcher(None, name, one).ratio(), one))
        raise click.UsageError(f"the environment has {name}, which sets no option; {nearest} does")
    for name in links:
        del environment[name]
    return links


def _is_link(name: str, value: str) -> bool:
    if _LINK.search(name):
        return True
    return bool(_LINK_PORT.search(name) and _LINK_ADDRESS.match(value))
