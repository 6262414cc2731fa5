"""The test vectors: our codecs, our clients and the JSON Schema say what the vectors say."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgpack  # type: ignore[import-untyped]
import msgspec
import pytest

from squire_gatherings._client.incoming import decode as decode_as_client
from squire_gatherings._client.websocket import Lost
from squire_gatherings._conform import files
from squire_gatherings._conform.messages import what_is_wrong
from squire_gatherings._values.messages import (
    ClientMessage,
    Forward,
    ForwardBatch,
    ServerMessage,
)
from squire_gatherings._values.op import Op
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings._wire.codecs import CODECS, Codec, UndecodableMessage
from tests.schema import validator

CLIENT, SERVER = (json.loads(files.read(name))["vectors"] for name in files.VECTORS)
BOTH = [pytest.param(one, id=one["name"]) for one in (*CLIENT, *SERVER)]
INCOMING = Path(__file__).parents[2] / "squire_gatherings" / "browser" / "incoming.js"
JAVASCRIPT = """
import { decode } from %s;
import { readFileSync } from "node:fs";
const said = JSON.parse(readFileSync(0, "utf8")).map((text) => {
  try {
    return decode(text) ? "taken" : "ignored";
  } catch (error) {
    return error.name === "Lost" ? "lost" : String(error);
  }
});
console.log(JSON.stringify(said));
"""


def payload(vector: dict[str, Any], codec: Codec) -> bytes | None:
    """Return the vector as a frame's payload, where this encoding can say it."""
    text = vector.get("json" if codec.is_text else "msgpack")
    if text is None:
        return None
    assert isinstance(text, str)
    return text.encode() if codec.is_text else bytes.fromhex(text)


def test_names_are_unique() -> None:
    for vectors in (CLIENT, SERVER):
        names = [one["name"] for one in vectors]
        assert len(set(names)) == len(names)


def test_each_message_has_valid_and_invalid_ones() -> None:
    for base, vectors in ((ClientMessage, CLIENT), (ServerMessage, SERVER)):
        types = {cls.__struct_config__.tag for cls in base.__subclasses__()}
        for valid in (True, False):
            shown = {
                one["message"].get("type")
                for one in vectors
                if one["valid"] is valid and isinstance(one.get("message"), dict)
            }
            # Nothing can be wrong with `leave`.
            assert types - shown <= (set() if valid else {"leave"})


@pytest.mark.parametrize("vector", BOTH)
def test_both_encodings_say_the_message(vector: dict[str, Any]) -> None:
    """By other libraries than ours: a mended message shows here what its bytes must be."""
    if "message" in vector:
        message = vector["message"]
        assert json.loads(vector["json"]) == message
        packed = bytes.fromhex(vector["msgpack"])
        assert msgpack.unpackb(packed) == message, msgpack.packb(message).hex()


@pytest.mark.parametrize("codec", CODECS.values(), ids=list(CODECS))
@pytest.mark.parametrize("vector", [pytest.param(one, id=one["name"]) for one in CLIENT])
def test_our_server_takes_and_refuses(vector: dict[str, Any], codec: Codec) -> None:
    data = payload(vector, codec)
    if data is None:
        return
    if vector["valid"]:
        message = codec.decode(data)
        fields = {"type": vector["message"]["type"]}
        given = {name: value for name, value in vector["message"].items() if value is not None}
        known = {"type", *message.__struct_fields__}
        again = msgspec.json.decode(msgspec.json.encode(message, enc_hook=lambda op: op.value))
        assert again | fields == {
            name: value for name, value in given.items() if name in known and value is not False
        }
    else:
        with pytest.raises(UndecodableMessage) as refused:
            codec.decode(data)
        expected = (vector["error"], vector.get("id"))
        assert (refused.value.code, refused.value.request_id) == expected


def test_the_tester_judges_as_they_say() -> None:
    """What it can't see in one message, a story shows, or only a server can know."""
    vectors = [one for one in CLIENT if "message" in one]
    wrong = [
        one["name"]
        for one in vectors
        if (what_is_wrong(one["message"]) is None) is not schema_takes(one)
    ]
    assert wrong == []


@pytest.mark.parametrize("vector", [pytest.param(one, id=one["name"]) for one in SERVER])
def test_our_python_client_takes_and_refuses(vector: dict[str, Any]) -> None:
    text = vector["json"]
    if vector["valid"]:
        assert decode_as_client(text) is not None
    elif vector["then"] == "ignored":
        assert decode_as_client(text) is None
    else:
        with pytest.raises(Lost):
            decode_as_client(text)


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
def test_our_browser_client_takes_and_refuses() -> None:
    program = JAVASCRIPT % json.dumps(INCOMING.as_uri())
    done = subprocess.run(
        ["node", "--input-type=module", "--eval", program],
        input=json.dumps([one["json"] for one in SERVER]),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for vector, said in zip(SERVER, json.loads(done.stdout), strict=True):
        expected = "taken" if vector["valid"] else vector["then"]
        # It ignores what it doesn't know, and it doesn't know presence yet.
        is_new = vector["name"].startswith("presence: ")
        assert said == expected or (is_new and said == "ignored"), vector["name"]


def server_message(fields: dict[str, Any]) -> ServerMessage:
    """Return what our server would send to mean this."""
    kinds = {
        cls.__struct_config__.tag: cls
        for cls in ServerMessage.__subclasses__()
        if cls not in (Forward, ForwardBatch)
    }
    forward = Forward if "op" in fields else ForwardBatch
    kind = kinds.get(fields["type"], forward)
    return msgspec.convert(fields, kind, dec_hook=lambda _, value: Op.of(value))


@pytest.mark.parametrize("codec", CODECS.values(), ids=list(CODECS))
@pytest.mark.parametrize(
    "vector", [pytest.param(one, id=one["name"]) for one in SERVER if one["valid"]]
)
def test_our_server_says_it_so(vector: dict[str, Any], codec: Codec) -> None:
    message = server_message(vector["message"])
    data = codec.encode(Outgoing(message))
    said = json.loads(data) if codec.is_text else msgpack.unpackb(data)
    known = {"type", *message.__struct_fields__}
    assert said == {name: one for name, one in vector["message"].items() if name in known}


def schema_takes(vector: dict[str, Any]) -> bool:
    return bool(vector["valid"] or vector.get("schema_takes_it"))


@pytest.mark.parametrize("direction", ["client", "server"])
def test_the_schema_says_the_same(direction: str) -> None:
    is_valid = validator(direction).is_valid
    vectors = [one for one in (CLIENT if direction == "client" else SERVER) if "message" in one]
    wrong = [one["name"] for one in vectors if is_valid(one["message"]) is not schema_takes(one)]
    assert wrong == []


def test_the_schema_is_one() -> None:
    schema = json.loads(files.read(files.SCHEMA))
    assert jsonschema_rs.meta.is_valid(schema)
    assert schema["$schema"].endswith("2020-12/schema")


def test_they_are_written_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    files.write(folder)
    assert {one.name for one in folder.iterdir()} == {files.SCHEMA, *files.VECTORS}
    for name in (files.SCHEMA, *files.VECTORS):
        assert (folder / name).read_bytes() == files.read(name)
