"""Edges: whoever follows a server's bytes knows where its frames end, however they are cut."""

from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.frame_protocol import CloseReason, FrameProtocol

from squire_gatherings._cluster.edges import Edges
from tests.support import examples

HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"

FRAMES = st.lists(
    st.tuples(st.sampled_from(["text", "ping"]), st.sampled_from([0, 1, 125, 126, 300, 70_000])),
    max_size=6,
)


@given(FRAMES, st.booleans(), st.lists(st.integers(1, 5000), min_size=1, max_size=30))
@settings(max_examples=examples(40))
def test_a_close_frame_fits_where_frames_end(
    frames: list[tuple[str, int]], closes: bool, sizes: list[int]
) -> None:
    protocol = FrameProtocol(client=False, extensions=[])
    said, ends = bytearray(HEAD), {len(HEAD)}
    for kind, size in frames:
        if kind == "text":
            said += protocol.send_data("x" * size, fin=size != 300)
            if size == 300:
                # A message in two parts: a close frame may come between them.
                ends.add(len(said))
                said += protocol.send_data("y", fin=True)
        else:
            said += protocol.ping(b"p" * min(size, 125))
        ends.add(len(said))
    end = len(said)
    if closes:
        said += protocol.close(CloseReason.GOING_AWAY, "bye")
    edges, at, turn = Edges(), 0, 0
    while at < len(said):
        size = sizes[turn % len(sizes)]
        edges.follow(bytes(said[at : at + size]))
        at, turn = min(at + size, len(said)), turn + 1
        # The opcode of a close frame is known with its second byte.
        if at <= end or at >= end + 2:
            assert edges.lacks_close is (at in ends and at <= end), at


def test_what_is_no_websocket_has_no_edges() -> None:
    for head in (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", b"x" * 100_000, b""):
        edges = Edges()
        edges.follow(head)
        edges.follow(b"\x81\x00")
        assert not edges.lacks_close
