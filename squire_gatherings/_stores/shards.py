"""Shards: a folder of SQLite stores, one for each worker, with a note of how many there are."""

import json
import os
from pathlib import Path

from squire_gatherings._rules.shards import MOST_SHARDS, shard_of
from squire_gatherings._values.errors import BadSetting, StoreUnusable

NOTE = "shards.json"
"""The name of the note. What it says is fixed by the first start."""

HASH = "rendezvous-blake2b-64"
"""The rule by which gatherings are laid out, `_rules.shards.shard_of`."""

_MOST_NOTE = 4096


def is_folder(url: str) -> bool:
    """Whether a store's URL names a folder of shards: `sqlite:///FOLDER/`."""
    return url.startswith("sqlite:///") and url.endswith("/")


def shard_name(number: int) -> str:
    """Return the name of a shard's file."""
    return f"shard-{number}.sqlite3"


def shard_url(folder_url: str, number: int) -> str:
    """Return the URL of one shard's store."""
    return f"{folder_url}{shard_name(number)}"


def prepare_folder(folder: Path, shards: int) -> None:
    """Make a folder of shards, or check that it is one of so many.

    Args:
        folder: The folder; made (0700) if it isn't there. The folder that it is in must be there.
        shards: How many shards it is to have.

    Raises:
        BadSetting: It has another number of shards, or files that no note tells of.
        StoreUnusable: It can't be made, or read.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = _noted(folder)
        if found is None:
            if any(folder.glob("shard-*.sqlite3")):
                raise BadSetting(f"{folder}: has shards and no {NOTE}, which says how many belong")
            _write(folder, shards)
            # Another one may have written another note in the same moment.
            found = _noted(folder)
    except OSError as error:
        raise StoreUnusable(f"{folder}: {error.strerror or error}") from None
    if found != shards:
        raise BadSetting(
            f"{folder}: has {found} shards, and each worker serves one: start it with --workers"
            f" {found}, or move the logs to a new folder (docs/scaling.md)"
        )


def noted_shards(folder: Path) -> int:
    """Return how many shards a folder has. Raises `BadSetting` where there's no such note."""
    try:
        found = _noted(folder)
    except OSError as error:
        raise BadSetting(f"{folder / NOTE}: {error.strerror}") from None
    if found is None:
        raise BadSetting(f"{folder}: isn't a folder of shards: there's no {NOTE} in it")
    return found


def check_place(path: Path, gathering: str) -> None:
    """Check whether a new gathering may be in a file: in a shard, only those that it has may.

    Raises:
        BadSetting: Another shard has it: nobody would look for it here.
    """
    path = path.resolve()
    try:
        shards = _noted(path.parent)
    except (BadSetting, OSError):
        return
    if shards is not None and path.name.startswith("shard-"):
        right = shard_name(shard_of(gathering, shards))
        if path.name != right:
            raise BadSetting(f"{path}: isn't where {gathering} belongs: {right} is")


def _noted(folder: Path) -> int | None:
    """Return how many shards a folder has; None if there's no note."""
    note = folder / NOTE
    try:
        with open(note, "rb") as file:
            data = file.read(_MOST_NOTE)
    except FileNotFoundError:
        return None
    try:
        said = json.loads(data)
        shards, rule = said["shards"], said["hash"]
    except (ValueError, LookupError, TypeError, RecursionError):
        shards = rule = None
    if type(shards) is not int or not 1 <= shards <= MOST_SHARDS or rule != HASH:
        raise BadSetting(f"{note}: says nothing that this version understands")
    return shards


def _write(folder: Path, shards: int) -> None:
    """Write a note, unless there's one: whole, and on the disk, before it has its name."""
    new = folder / f".{NOTE}-{os.getpid()}"
    try:
        with open(new, "x", encoding="utf-8") as file:
            file.write(json.dumps({"shards": shards, "hash": HASH}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(new, folder / NOTE)
        except FileExistsError:
            return
    finally:
        new.unlink(missing_ok=True)
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
