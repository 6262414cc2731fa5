"""The files that others may want: the test vectors, and the JSON Schema of all messages."""

from importlib.resources import files
from pathlib import Path

SCHEMA = "squire.v1.schema.json"
VECTORS = ("client.json", "server.json")


def write(folder: Path) -> None:
    """Write all of them into a folder, which is made if need be. Raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (SCHEMA, *VECTORS):
        (folder / name).write_bytes(read(name))


def read(name: str) -> bytes:
    """Return one of them."""
    return files("squire_gatherings._conform").joinpath("vectors", name).read_bytes()
