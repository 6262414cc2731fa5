"""The OpenAPI description of the API, made of the table of its operations."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from squire_gatherings._admin.api.shapes import GATHERING_ID
from squire_gatherings._admin.operations import Operation
from squire_gatherings._admin.problems import MEDIA_TYPE, TITLES, Problem

_REFERENCE = "#/components/schemas/{name}"
_ALWAYS = (400, 401, 403, 421, 500)
"""Any request may be refused with these."""


def openapi(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """Return the description, as OpenAPI 3.1 has it."""
    shapes: set[type[msgspec.Struct]] = {Problem}
    for one in operations:
        shapes |= {shape for shape in (one.answer, one.body) if shape is not None}
    ordered = sorted(shapes, key=lambda shape: shape.__name__)
    references, schemas = msgspec.json.schema_components(ordered, ref_template=_REFERENCE)
    named = dict(zip(ordered, references, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, named)
    return {
        "openapi": "3.1.0",
        "info": {"title": "squire_gatherings", "version": version},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(one: Operation, named: dict[Any, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"operationId": one.name, "summary": one.does}
    parameters = [*_path_parameters(one.path), *_query_parameters(one)]
    if parameters:
        described["parameters"] = parameters
    if one.body is not None:
        content = {"application/json": {"schema": named[one.body]}}
        described["requestBody"] = {"required": True, "content": content}
    schema = {"type": "string"} if one.answer is None else named[one.answer]
    described["responses"] = {
        "200": {"description": "Done.", "content": {one.media_type: {"schema": schema}}},
        **_problems(one, named),
    }
    return described


def _problems(one: Operation, named: dict[Any, Any]) -> dict[str, Any]:
    statuses = {*_ALWAYS, *one.problems, *((408, 413, 415) if one.body else ())}
    content = {MEDIA_TYPE: {"schema": named[Problem]}}
    return {
        str(status): {"description": TITLES[status], "content": content}
        for status in sorted(statuses)
    }


def _path_parameters(path: str) -> Iterable[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)\}", path):
        schema = {"type": "string", "pattern": GATHERING_ID, "minLength": 1, "maxLength": 128}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameters(one: Operation) -> Iterable[dict[str, Any]]:
    if one.query is None:
        return
    schema = msgspec.json.schema(one.query)
    definition = schema["$defs"][one.query.__name__]
    for name, said in definition["properties"].items():
        # Null is what isn't said.
        kinds = [kind for kind in said.pop("anyOf", ()) if kind.get("type") != "null"]
        said = {**said, **(kinds[0] if kinds else {})}
        if said.get("default", ...) is None:
            del said["default"]
        if None in said.get("enum", ()):
            said["enum"] = [value for value in said["enum"] if value is not None]
        parameter = {"name": name, "in": "query", "schema": said}
        if "description" in said:
            parameter["description"] = said.pop("description")
        parameter["required"] = name in definition.get("required", ())
        yield parameter
