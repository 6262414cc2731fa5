"""What a client may say: the fields of each message, and what each must be."""

from collections.abc import Callable
from typing import Any

from attrs import frozen

MAX_SEQ = 2**63 - 1
MAX_ID = 128
MAX_TOKEN = 8192
PROBE = "ping"
"""A type that no version knows, by which a page asks whether the server is there."""


@frozen
class Field:
    """One field of a message."""

    is_right: Callable[[Any], bool]
    what: str
    """What it must be, in words."""
    is_required: bool = False


def _is_seq(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_SEQ


def _is_text(longest: int, shortest: int = 0) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and shortest <= len(value) <= longest


def _is_proof(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and _is_seq(value.get("seq"))
        and _is_text(MAX_ID, 1)(value.get("head"))
    )


def _is_op(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _are_ops(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_op, value))


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


_SEQ = Field(_is_seq, "a whole number from 0 to 2^63 - 1")
_ID = Field(_is_text(MAX_ID, 1), "text of 1 to 128 characters", is_required=True)
_BOOL = Field(_is_bool, "true or false")


def _optional(field: Field) -> Field:
    """A field that may be left out may also be null."""
    return Field(lambda value: value is None or field.is_right(value), field.what)


FIELDS: dict[str, dict[str, Field]] = {
    "join": {
        "token": _optional(Field(_is_text(MAX_TOKEN), "text of at most 8,192 characters")),
        "since": _optional(_SEQ),
        "client": _optional(_ID),
        "epoch": _optional(Field(_is_text(MAX_ID), "text of at most 128 characters")),
        "resume": _optional(_ID),
        "tail": _BOOL,
        "times": _BOOL,
        "syncs": _BOOL,
        "proof": _BOOL,
        "known": _optional(Field(_is_proof, "an object with the `seq` and the `head` of a proof")),
        "presence": Field(_is_op, "an object"),
    },
    "fetch": {
        "id": _ID,
        "since": _optional(_SEQ),
        "at": _optional(_SEQ),
        "at_time": _optional(_SEQ),
    },
    "sync": {
        "id": _ID,
        "base": Field(_is_seq, _SEQ.what, is_required=True),
        "ops": Field(_are_ops, "an array of one object or more", is_required=True),
    },
    "ack": {"seq": Field(_is_seq, _SEQ.what, is_required=True)},
    "refresh": {
        "id": _ID,
        "token": Field(_is_text(MAX_TOKEN), "text of at most 8,192 characters", is_required=True),
    },
    "presence": {"id": _ID, "state": Field(_is_op, "an object", is_required=True)},
    "leave": {},
    PROBE: {"id": Field(_ID.is_right, _ID.what)},
}


def what_is_wrong(value: Any) -> str | None:
    """Return what keeps a value from being a client's message; None if it is one.

    Fields that nobody knows are nobody's business.
    """
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        return "sent something else than an object with a `type`"
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in FIELDS:
        return f"sent a message of the type {str(kind)[:40]!r}, which no client sends"
    for name, field in FIELDS[kind].items():
        if name not in value:
            if field.is_required:
                return f"sent a `{kind}` without `{name}`"
        elif not field.is_right(value[name]):
            return f"sent a `{kind}` whose `{name}` isn't {field.what}"
    return None
