"""`--header` of `watch` and `submit`: only the server gets to see it."""

import socket
import threading

import pytest

from tests.cli.process import PATIENCE, run_here


def asked(*arguments: str) -> tuple[bytes, str]:
    """Return what a server is asked, and what is said about its refusal."""
    heard = b""

    def serve(listener: socket.socket) -> None:
        nonlocal heard
        connection, _ = listener.accept()
        with connection:
            while b"\r\n\r\n" not in heard:
                heard += connection.recv(65536)
            connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve, args=(listener,), daemon=True)
        serving.start()
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}/live/{{gathering}}"
        _, _, said = run_here(*(argument.replace("URL", url) for argument in arguments))
        serving.join(PATIENCE)
    return heard, said


@pytest.mark.parametrize("what", [["watch", "URL", "room"], ["submit", "URL", "room", "{}"]])
def test_headers_go_into_the_opening_request(
    what: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--header", "Cookie: a=s3cret; b=2", "--header", "X-Key:s3cret"]
    if what[0] == "watch":
        heard, said = asked(*what, *options)
    else:
        monkeypatch.setenv("SQUIRE_HEADERS", "Cookie: a=s3cret; b=2\nX-Key:s3cret")
        heard, said = asked(*what, "--timeout", "5s")
    assert heard.startswith(b"GET /live/room HTTP/1.1\r\n")
    assert b"\r\nCookie: a=s3cret; b=2\r\n" in heard
    assert b"\r\nX-Key: s3cret\r\n" in heard
    assert "403" in said
    assert "s3cret" not in said


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("s3cret", "a header is 'Name: value'"),
        (": s3cret", "a header is 'Name: value'"),
        ("X: s3cret\r\nY: 1", "the header X has a value that isn't printable ASCII"),
        ("Host: s3cret", "the header Host is the handshake's own"),
    ],
)
def test_a_header_that_is_none_is_said_in_one_line(header: str, says: str) -> None:
    code, out, err = run_here("watch", "ws://127.0.0.1:1", "room", "--header", header)
    assert (code, out) == (2, "")
    assert says in err
    assert "s3cret" not in err
    assert len(err.splitlines()) == 1
