"""The relay's protocol: streams of bytes over one HTTP/2 connection between two nodes, without I/O.

Each client that is relayed is a stream: a request that says whose connection it is, the answer
whether the other node takes it, and then bytes in both directions. The window of the connection is
opened as soon as bytes have come, that of a stream when somebody has taken them: so one client that
reads slowly stops its own stream, and no other, and holds at most one window of bytes.
"""

from attrs import define, field, frozen
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    PingReceived,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error, NoAvailableStreamIDError
from h2.settings import SettingCodes

MOST_STREAMS = 20_000
"""How many clients one node relays to another at once."""

STREAM_WINDOW = 64 * 1024
"""How many bytes of one stream may wait to be taken."""

CONNECTION_WINDOW = 8 * 1024 * 1024
"""How many bytes of all streams may be under way."""

MOST_HELD = 64 * 1024 * 1024
"""How many bytes may wait to be taken in all; with more, the stream ends that holds most."""

PATH = b"/relay/1"

_PING, _POKE = b"squire-1", b"squire-2"
"""What pings say."""

_PEER, _FLAGS, _PASSED, _WHY = b"squire-peer", b"squire-flags", b"squire-passed", b"squire-why"


class Broken(Exception):
    """The connection has ended, or must end."""


class UsedUp(Broken):
    """All streams that the connection can ever have were opened: another one is needed."""


class StreamBroken(Exception):
    """This stream has ended before all was said."""


@frozen
class Asked:
    """What is said of a client."""

    peer: str | None
    is_proxied: bool
    is_local: bool
    passed: int


@frozen
class Opened:
    """The other node relays a client."""

    stream: int
    asked: Asked


@frozen
class Answered:
    """The other node takes a client, or says why not."""

    stream: int
    is_taken: bool
    why: str


@frozen
class Arrived:
    """Bytes have come."""

    stream: int
    data: bytes


@frozen
class Ended:
    """The other side has said all on a stream."""

    stream: int


@frozen
class Reset:
    """A stream has ended before all was said."""

    stream: int


@frozen
class Writable:
    """There may be room for more; 0 stands for all streams."""

    stream: int


@frozen
class Poked:
    """Something was given to this node."""

    stream: int = 0


Event = Poked | Opened | Answered | Arrived | Ended | Reset | Writable


@define(eq=False)
class Relay:
    """One side of the connection."""

    is_client: bool
    """Whether it is the side that relays clients."""
    _h2: H2Connection = field(init=False)
    _credit: int = 0
    """Bytes of the connection's window that were taken, and not yet given back."""
    _credits: dict[int, int] = field(factory=dict)
    """The same, by stream."""

    def __attrs_post_init__(self) -> None:
        config = H2Configuration(client_side=self.is_client, header_encoding=None)
        self._h2 = H2Connection(config)
        self._h2.local_settings.update(
            {
                SettingCodes.MAX_CONCURRENT_STREAMS: MOST_STREAMS,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                SettingCodes.ENABLE_PUSH: 0,
            }
        )
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(CONNECTION_WINDOW - 65_535)

    def to_send(self) -> bytes:
        """Return what is to be sent now."""
        return self._h2.data_to_send()

    def receive(self, data: bytes) -> list[Event]:
        """Take what has come; return what it means.

        Raises:
            Broken: The connection must end.
        """
        found: list[Event] = []
        try:
            for event in self._h2.receive_data(data):
                self._understand(event, found)
        except (H2Error, ValueError, OverflowError) as error:
            raise Broken(f"it sends what nobody understands: {error}") from None
        return found

    def _understand(self, event: object, found: list[Event]) -> None:
        match event:
            case RequestReceived(stream_id=stream, headers=headers):
                found.append(Opened(stream, _asked(dict(headers))))
            case ResponseReceived(stream_id=stream, headers=headers):
                said = dict(headers)
                why = bytes(said.get(_WHY, b"")).decode("ascii", "replace")
                found.append(Answered(stream, said.get(b":status") == b"200", why))
            case DataReceived(stream_id=stream, data=data, flow_controlled_length=size):
                self._give_back(size)
                self.taken(stream, size - len(data))
                if data:
                    found.append(Arrived(stream, bytes(data)))
            case StreamEnded(stream_id=stream):
                found.append(Ended(stream))
            case StreamReset(stream_id=stream):
                found.append(Reset(stream))
            case WindowUpdated(stream_id=stream):
                found.append(Writable(stream or 0))
            case PingReceived(ping_data=data) if data == _POKE:
                found.append(Poked())
            case RemoteSettingsChanged():
                found.append(Writable(0))
            case ConnectionTerminated():
                raise Broken("the other node has ended the connection")
            case _:
                # Answers to pings, and what later versions of HTTP/2 add.
                pass

    def _give_back(self, size: int) -> None:
        self._credit += size
        if self._credit >= CONNECTION_WINDOW // 4:
            self._h2.increment_flow_control_window(self._credit)
            self._credit = 0

    def taken(self, stream: int, size: int) -> None:
        """Note that somebody has taken bytes of a stream: as many more may come."""
        credit = self._credits.get(stream, 0) + size
        if credit >= STREAM_WINDOW // 2:
            try:
                self._h2.increment_flow_control_window(credit, stream)
            except H2Error:
                # It has ended.
                self._credits.pop(stream, None)
                return
            credit = 0
        if credit:
            self._credits[stream] = credit
        else:
            self._credits.pop(stream, None)

    def forget(self, stream: int) -> None:
        """Note that nobody has anything to do with a stream any more."""
        self._credits.pop(stream, None)

    # What is said.

    def open(self, asked: Asked) -> int:
        """Relay a client; return its stream.

        Raises:
            UsedUp: No more can ever be opened.
            Broken: No more can be opened now.
        """
        flags = (b"p" if asked.is_proxied else b"") + (b"l" if asked.is_local else b"")
        try:
            stream = self._h2.get_next_available_stream_id()
        except NoAvailableStreamIDError:
            raise UsedUp("no more streams can be opened") from None
        try:
            self._h2.send_headers(
                stream,
                [
                    (b":method", b"POST"),
                    (b":scheme", b"http"),
                    (b":authority", b"squire"),
                    (b":path", PATH),
                    (_PEER, (asked.peer or "").encode()),
                    (_FLAGS, flags),
                    (_PASSED, str(asked.passed).encode()),
                ],
            )
        except (H2Error, ValueError) as error:
            raise Broken(f"no stream can be opened: {error}") from None
        return stream

    def answer(self, stream: int, why: str | None = None) -> None:
        """Say that a client is taken, or why it isn't.

        Raises:
            StreamBroken: The other side doesn't wait for it any more.
        """
        headers = [(b":status", b"200" if why is None else b"503")]
        if why is not None:
            headers.append((_WHY, why.encode("ascii", "replace")))
        try:
            self._h2.send_headers(stream, headers, end_stream=why is not None)
        except H2Error as error:
            raise StreamBroken(str(error)) from None

    def send(self, stream: int, data: memoryview) -> int:
        """Send as many of these bytes as may go out now; return how many.

        Raises:
            StreamBroken: Nobody takes them any more.
        """
        try:
            room = self._h2.local_flow_control_window(stream)
            size = min(len(data), room, self._h2.max_outbound_frame_size)
            if size <= 0:
                return 0
            self._h2.send_data(stream, bytes(data[:size]))
        except H2Error as error:
            raise StreamBroken(str(error)) from None
        return size

    def finish(self, stream: int) -> None:
        """Say that no more bytes come on a stream. Raises `StreamBroken`."""
        try:
            self._h2.end_stream(stream)
        except H2Error as error:
            raise StreamBroken(str(error)) from None

    def reset(self, stream: int) -> None:
        """End a stream before all was said; nothing, where it has ended."""
        self.forget(stream)
        try:
            self._h2.reset_stream(stream, ErrorCodes.CANCEL)
        except H2Error:
            return

    def ping(self) -> None:
        """Ask whether the other node is there."""
        self._h2.ping(_PING)

    def poke(self) -> None:
        """Have the other node look for what was given to it."""
        self._h2.ping(_POKE)


def _asked(headers: dict[bytes, bytes]) -> Asked:
    """Return what a request says of a client. Raises `ValueError` for nonsense."""
    if headers.get(b":path") != PATH or headers.get(b":method") != b"POST":
        raise ValueError("it isn't a client that is relayed")
    peer, passed = headers.get(_PEER, b""), headers.get(_PASSED, b"")
    flags = headers.get(_FLAGS, b"")
    if len(peer) > 100 or not passed.isdigit() or len(passed) > 3:
        raise ValueError("it isn't a client that is relayed")
    return Asked(peer.decode("ascii") or None, b"p" in flags, b"l" in flags, int(passed))
