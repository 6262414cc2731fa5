"""`delete` and `compact`: what goes for good, also from a store that is served."""

import time

import click

from squire_gatherings._cli.audit_log import audit_option, audited
from squire_gatherings._cli.confirmation import ask, check_that_somebody_is_there, yes_option
from squire_gatherings._cli.options import DURATION, ENVIRONMENT, POINT, option
from squire_gatherings._cli.points import Point
from squire_gatherings._cli.printing import print_json, print_line
from squire_gatherings._cli.progress import Progress
from squire_gatherings._cli.whole_logs import change, existing, look, seq_of
from squire_gatherings._stores import offline
from squire_gatherings._stores.logs import LogChanges, Logs
from squire_gatherings._values.archive import Tombstone
from squire_gatherings._values.errors import StoreConflict, StoreUnavailable

SHOWN = 10
"""How many ids the question names."""

_erase = option(
    "--erase/--no-erase",
    default=True,
    help="Write the file anew, so that nothing is left in it of what goes.",
)
_json = option("--json", "as_json", is_flag=True, help="Answer with a JSON object.")


@click.command("delete", context_settings=ENVIRONMENT)
@click.argument("store")
@click.argument("pattern")
@yes_option
@_erase
@audit_option
@_json
def delete(
    store: str, pattern: str, yes: bool, erase: bool, audit_log: str | None, as_json: bool
) -> None:
    """Delete the gatherings whose ids match PATTERN from STORE.

    STORE is sqlite:///PATH, the PATH, or postgresql://..., which is not written anew: it
    overwrites what was deleted in its own time.

    They are deleted for good, with all their ops; a tombstone is left, with the id and the
    head of the chain. It asks first, unless --yes is given. PATTERN is as in a shell
    (* ? [a-z]); quote it.

    A server that has the file open ends these gatherings within seconds (reason `admin`).
    A later join of one of them begins a new log. While the file is written anew, which
    takes about a second for each few hundred MiB, a server commits nothing.

    With --json, it prints {"deleted": [ID, ...]}.

    \b
    Examples:
      squire-gatherings delete rooms.sqlite3 'load-*'
      squire-gatherings delete sqlite:////var/lib/squire/rooms.sqlite3 friday-night --yes
    """
    check_that_somebody_is_there(yes)
    progress = Progress()
    found = _matching(store, pattern, progress)
    if found and not yes:
        ask(f"Delete {len(found)} for good ({_shown(found)})?")

    def go(logs: LogChanges) -> list[Tombstone]:
        now = int(time.time() * 1000)
        gone: list[Tombstone] = []
        for one in found:
            progress.tell(f"deleting {one}")
            tombstone = logs.delete(one, now)
            if tombstone is not None:
                gone.append(tombstone)
        return gone

    with audited(audit_log, "delete", store) as done:
        gone = change(store, go, progress) if found else []
        done += [one.gathering for one in gone]
    if erase and (gone or _is_asked_for()):
        _erase_file(store, progress)
    if as_json:
        print_json(deleted=[one.gathering for one in gone])
    else:
        print_line(f"deleted {len(gone)} gatherings")


@click.command("compact", context_settings=ENVIRONMENT)
@click.argument("store")
@click.argument("pattern")
@option("--up-to", type=POINT, help="Leave out the ops up to this seq or time.")
@option("--keep", type=DURATION, help="Leave out the ops that are older than this: 30d.")
@option("--forget-syncs", is_flag=True, help="Forget also which syncs they came from.")
@option(
    "--log-only",
    is_flag=True,
    help="These gatherings have no state but their ops (as under `serve`): cut anywhere.",
)
@yes_option
@_erase
@audit_option
@_json
def compact(
    store: str,
    pattern: str,
    up_to: Point | None,
    keep: float | None,
    forget_syncs: bool,
    log_only: bool,
    yes: bool,
    erase: bool,
    audit_log: str | None,
    as_json: bool,
) -> None:
    """Leave out the first ops of the gatherings whose ids match PATTERN, for good.

    In their place a snapshot is kept that is there already: the last one up to the point. With
    --log-only the point is the end of the last commit up to there. It asks first, unless --yes
    is given. Clients from before it are given the snapshot, or what is left.

    That a sync was applied is remembered, with its user's name and a hash of its ops, so that it
    isn't applied again; --forget-syncs forgets that, too.

    With --json, it prints {"compacted": {ID: FIRST_SEQ, ...}}, with those that have changed.

    \b
    Examples:
      squire-gatherings compact rooms.sqlite3 '*' --keep 30d --log-only
      squire-gatherings compact rooms.sqlite3 friday-night --up-to 5000 --yes
    """
    if (up_to is None) is (keep is None):
        raise click.UsageError("give either --up-to or --keep")
    check_that_somebody_is_there(yes)
    point = up_to or Point(None, max(0, int((time.time() - (keep or 0.0)) * 1000)))
    progress = Progress()
    found = _matching(store, pattern, progress)
    if found and not yes:
        ask(f"Leave out the first ops of {len(found)} for good ({_shown(found)})?")

    def go(logs: LogChanges) -> dict[str, int]:
        changed: dict[str, int] = {}
        for one in found:
            progress.tell(f"compacting {one}")
            info = existing(logs, one)
            seq = min(seq_of(logs, info, point), info.seq)
            state = None
            if log_only:
                seq = logs.end_of_append(one, seq)
                state = b"%d" % seq
                if seq < info.first_seq:
                    continue
            first = logs.compact(one, seq, state, forget_syncs=forget_syncs)
            if first > info.first_seq:
                changed[one] = first
        return changed

    with audited(audit_log, "compact", store) as done:
        changed = change(store, go, progress) if found else {}
        done += changed
    if erase and (changed or _is_asked_for()):
        _erase_file(store, progress)
    if as_json:
        print_json(compacted=changed)
    else:
        print_line(f"compacted {len(changed)} of {len(found)} gatherings")


def _matching(store: str, pattern: str, progress: Progress) -> list[str]:
    """Return the ids that match.

    Raises `StoreConflict` for a name, not a pattern, of which there is and was nothing.
    """

    def find(logs: Logs) -> list[str]:
        found = logs.matching(pattern)
        is_name = not set(pattern) & set("*?[")
        # What was deleted may be deleted again: a command may have been killed.
        if is_name and not found and logs.find_info(pattern) is None:
            raise StoreConflict(f"there is no gathering {pattern}")
        return found

    return look(store, find, progress)


def _shown(ids: list[str]) -> str:
    return f"{', '.join(ids[:SHOWN])}{', …' if len(ids) > SHOWN else ''}"


def _erase_file(store: str, progress: Progress) -> None:
    progress.tell("writing the file anew", now=True)
    try:
        with progress.going_on():
            offline.erase(store, progress.stopped)
    except StoreUnavailable as error:
        raise StoreUnavailable(
            f"it's done, but may still be in the file: {error}; run it again with --erase"
        ) from None


def _is_asked_for() -> bool:
    """Whether --erase was given: then the file is written anew also if nothing goes now."""
    source = click.get_current_context().get_parameter_source("erase")
    return source is click.core.ParameterSource.COMMANDLINE
