"""`serve --tls-cert`: the real program, a renewed certificate, an orderly end."""

import os
import signal
import ssl
from pathlib import Path

import pytest
import trio

from squire_gatherings.client import open_client
from tests.cli.process import PATIENCE, run_here
from tests.forked import Forked, serving
from tests.server.certificates import trusting, write
from tests.server.test_hostile import request


def shown(url: str) -> str:
    port = int(url.rpartition(":")[2])
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=PATIENCE)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there's no SIGHUP")
async def test_serve_with_tls(tmp_path: Path) -> None:
    certificate, key = write(tmp_path)
    options = ("--store", "memory:", "--tls-cert", str(certificate), "--tls-key", str(key))
    with serving(*options, "--log-level", "info") as (process, url):
        assert url.startswith("wss://127.0.0.1:")
        assert process.stderr is not None
        with trio.fail_after(60):
            async with (
                open_client(url, ssl_context=trusting()) as client,
                client.join("room") as gathering,
            ):
                await gathering.submit({"n": 1})
                before = await trio.to_thread.run_sync(shown, url)
                certificate.write_text("nonsense")
                hang_up(process.pid)
                await until(process.stderr.readline, "can't reload")
                assert await trio.to_thread.run_sync(shown, url) == before
                write(tmp_path)
                hang_up(process.pid)
                await until(process.stderr.readline, "event=reloaded")
                assert await trio.to_thread.run_sync(shown, url) != before
                await gathering.submit({"n": 2})
            await told_of_the_end(url, process)
        assert process.wait(20) == 0


async def told_of_the_end(url: str, process: Forked) -> None:
    """The notice of a shutdown comes over TLS, too, and so does the end of the connection."""
    stream = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
    secured = trio.SSLStream(stream, trusting(), server_hostname="127.0.0.1")
    await secured.send_all(request() + b"\x81\x8f\0\0\0\0" + b'{"type":"join"}')
    got = b""
    while b'"joined"' not in got:
        got += await secured.receive_some()
    process.send_signal(signal.SIGTERM)
    # Without a close_notify this line would raise.
    while data := await secured.receive_some():
        got += data
        if b"\x03\xe9" in got:
            await secured.send_all(b"\x88\x82\0\0\0\0\x03\xe9")
    assert b'"shutdown"' in got
    await secured.aclose()


def hang_up(pid: int) -> None:
    os.kill(pid, signal.SIGHUP)


async def until(readline: object, text: str) -> None:
    line = ""
    while text not in line:
        line = await trio.to_thread.run_sync(readline)  # type: ignore[arg-type]
        assert line, f"no {text!r} in the log"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--tls-key", "x"], "--tls-key goes with --tls-cert"),
        (["--tls-cert", "/none"], "can't use the certificate: /none: No such file"),
        (["--proxy", "nonsense"], "a proxy is ADDRESS or ADDRESS/BITS"),
        (["--proxy-says", "forwarded"], "--proxy-says goes with --proxy"),
        (["--max-memory", "120%"], "not a share"),
        (["--max-memory", "much"], "not a size"),
        (["--max-gatherings", "0"], "max_gatherings must be a whole number from 1"),
        (["--max-handshakes", "0"], "max_handshakes must be a whole number from 1"),
        (["--when-full", "panic"], "not one of"),
        (["--max-outbound", "0"], "max_outbound must be a whole number from 1"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(options: list[str], says: str) -> None:
    code, out, err = run_here("serve", "--store", "memory:", *options)
    assert (code, out) == (2, "")
    assert says in " ".join(err.split())
    assert "Traceback" not in err
