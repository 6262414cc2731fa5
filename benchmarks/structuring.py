"""What it costs to make messages of bytes and bytes of messages: msgspec against cattrs."""

import json
from collections.abc import Callable
from statistics import median
from typing import Any

import attrs
import cattrs.preconf.json
import msgspec

from benchmarks.timing import microseconds
from squire_gatherings._values.messages import Forward
from squire_gatherings._values.op import Op
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings._wire.codecs import JSON

ROUNDS = 9
REPEATS = 5000


@attrs.frozen
class AttrsSync:
    id: str = attrs.field(validator=attrs.validators.min_len(1))
    base: int = attrs.field(validator=attrs.validators.ge(0))
    ops: list[dict[str, Any]] = attrs.field(validator=attrs.validators.min_len(1))
    type: str = "sync"


@attrs.frozen
class AttrsForward:
    seq: int
    by: str | None
    op: dict[str, Any]
    type: str = "forward"


OP = {"kind": "result", "table": 12, "round": 3, "players": ["alice", "bob"], "note": "x" * 100}
SYNC = json.dumps({"type": "sync", "id": "0123456789abcdef", "base": 123, "ops": [OP]}).encode()
KEPT = Op.of(OP)
CONVERTER = cattrs.preconf.json.make_converter()
ATTRS_DECODER = msgspec.json.Decoder(AttrsSync)
ENCODER = msgspec.json.Encoder()

CASES: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "msgspec.Struct (used here)": (
        lambda: JSON.decode(SYNC),
        lambda: JSON.encode(Outgoing(Forward(7, "alice", KEPT))),
    ),
    "msgspec, attrs classes": (
        lambda: ATTRS_DECODER.decode(SYNC),
        lambda: ENCODER.encode(AttrsForward(7, "alice", OP)),
    ),
    "cattrs (preconf json), attrs classes": (
        lambda: CONVERTER.loads(SYNC, AttrsSync),
        lambda: CONVERTER.dumps(AttrsForward(7, "alice", OP)),
    ),
}


def main() -> None:
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in CASES}
    for _ in range(ROUNDS):
        for name, (decode, encode) in CASES.items():
            times[name][0].append(microseconds(decode, REPEATS))
            times[name][1].append(microseconds(encode, REPEATS))
    best = [median(times["msgspec.Struct (used here)"][side]) for side in (0, 1)]
    print("| | decode a sync | encode a forward | ratio |")
    print("| --- | --- | --- | --- |")
    for name, (decoding, encoding) in times.items():
        decoded, encoded = median(decoding), median(encoding)
        print(
            f"| {name} | {decoded:.1f} us | {encoded:.1f} us"
            f" | {decoded / best[0]:.1f}, {encoded / best[1]:.1f} |"
        )


if __name__ == "__main__":
    main()
