"""The JSON Schema of the protocol, as what judges messages."""

import json
from functools import cache

import jsonschema_rs

from squire_gatherings._conform import files


@cache
def validator(direction: str) -> jsonschema_rs.Draft202012Validator:
    """Return what judges the messages of one direction, `client` or `server`."""
    schema = json.loads(files.read(files.SCHEMA))
    del schema["anyOf"]
    return jsonschema_rs.Draft202012Validator(schema | {"$ref": f"#/$defs/{direction}"})
