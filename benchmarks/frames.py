"""What it costs to read frames of a client: `websockets`' Sans-I/O core against `wsproto`."""

from collections.abc import Callable
from statistics import median

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from benchmarks.timing import microseconds
from squire_gatherings._wire.websockets_core import QUIET_LOG

ROUNDS = 9
REPEATS = 5000
PAYLOAD = b"x" * 200
FRAME = Frame(Opcode.TEXT, PAYLOAD).serialize(mask=True)

_websockets = Protocol(Side.SERVER, max_size=2**20, logger=QUIET_LOG)
_wsproto = Connection(ConnectionType.SERVER)


def with_websockets() -> bytes:
    _websockets.receive_data(FRAME)
    [frame] = _websockets.events_received()
    assert isinstance(frame, Frame)
    return bytes(frame.data)


def with_wsproto() -> bytes:
    _wsproto.receive_data(FRAME)
    [event] = _wsproto.events()
    assert isinstance(event, TextMessage)
    return event.data.encode()


CASES: dict[str, Callable[[], bytes]] = {
    "websockets (used here)": with_websockets,
    "wsproto": with_wsproto,
}


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for function in CASES.values():
        assert function() == PAYLOAD
    for _ in range(ROUNDS):
        for name, function in CASES.items():
            times[name].append(microseconds(function, REPEATS))
    best = median(times["websockets (used here)"])
    print("| | parse a masked frame of 200 bytes | ratio |")
    print("| --- | --- | --- |")
    for name, taken in times.items():
        print(f"| {name} | {median(taken):.1f} us | {median(taken) / best:.1f} |")


if __name__ == "__main__":
    main()
