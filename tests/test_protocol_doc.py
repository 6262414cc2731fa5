"""The protocol's description agrees with the code: examples, codes, reasons."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from squire_gatherings._values import messages
from squire_gatherings._values.endings import CloseCode, DispersalReason
from squire_gatherings._values.errors import GatheringsError
from squire_gatherings._wire.codecs import JSON
from tests.schema import validator

PAGE = (Path(__file__).parent.parent / "docs" / "protocol.md").read_text()
CLIENT, SERVER = PAGE.split("## What the server sends")


def examples(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL):
        rest = block.strip()
        while rest:
            value, end = json.JSONDecoder().raw_decode(rest)
            found.append(value)
            rest = rest[end:].strip()
    return found


def subclasses(base: type) -> list[type]:
    direct: list[type] = base.__subclasses__()
    return direct + [one for cls in direct for one in subclasses(cls)]


def tag(cls: type[msgspec.Struct]) -> object:
    return cls.__struct_config__.tag


@pytest.mark.parametrize("example", examples(CLIENT), ids=lambda example: example["type"])
def test_what_a_client_may_send_is_understood(example: dict[str, Any]) -> None:
    message = JSON.decode(json.dumps(example).encode())
    assert set(example) <= {"type", *message.__struct_fields__}
    assert validator("client").is_valid(example)


@pytest.mark.parametrize("example", examples(SERVER), ids=lambda example: example["type"])
def test_what_a_server_may_send_is_in_the_schema(example: dict[str, Any]) -> None:
    direction = "client" if example["type"] == "ping" else "server"
    assert validator(direction).is_valid(example)


@pytest.mark.parametrize(
    "cls", messages.ClientMessage.__subclasses__(), ids=lambda cls: cls.__name__
)
def test_what_a_client_may_send_is_shown(cls: type[msgspec.Struct]) -> None:
    shown = {name for one in examples(CLIENT) if one["type"] == tag(cls) for name in one}
    assert shown == {"type", *cls.__struct_fields__}


def test_every_client_message_has_an_example() -> None:
    shown = {example["type"] for example in examples(CLIENT)}
    assert shown == {tag(cls) for cls in messages.ClientMessage.__subclasses__()}


def test_every_server_message_has_an_example_with_its_fields() -> None:
    shown = {(example["type"], frozenset(example) - {"type"}) for example in examples(SERVER)}
    for cls in messages.ServerMessage.__subclasses__():
        fields = frozenset(cls.__struct_fields__)
        # An answer shows ops or a snapshot, never both.
        either = {fields} if "snapshot" not in fields else {fields - {"snapshot"}, fields - {"ops"}}
        assert any((tag(cls), one) in shown for one in either), cls.__name__


def test_every_error_code_that_a_client_may_get_is_described() -> None:
    described = set(re.findall(r"`(\w+)`", SERVER.split("| code |")[1].split("###")[0]))
    # Never sent: conflict is a message of its own, dispersed calls go to the next incarnation,
    # settings and store files are refused before anybody connects, an id in the handshake.
    unsent = {
        "conflict",
        "dispersed",
        "bad_setting",
        "bad_id",
        "store_unusable",
        "store_conflict",
        "bad_export",
        # These are errors of a program's own calls.
        "cannot_remember",
        "undelivered",
        # A node hears it of its store.
        "unavailable",
        # These are our own client's.
        "cannot_connect",
        "diverged",
        "gap",
        "left",
    }
    codes = {cls.code for cls in subclasses(GatheringsError)}  # type: ignore[attr-defined]
    assert codes - unsent <= described


def test_every_close_code_and_reason_is_described() -> None:
    # 1003 is never sent: a frame of the wrong kind gets an error, and the connection lives.
    for code in set(CloseCode) - {CloseCode.UNSUPPORTED_DATA}:
        assert str(int(code)) in PAGE, code.name
    for reason in DispersalReason:
        row = re.search(rf"^\| [^|]*`{reason}`[^|]* \| (\d+)", PAGE, re.MULTILINE)
        assert row is not None, reason
        assert int(row[1]) == reason.close_code
