"""Who is heard: tokens, cookies, hosts, origins; and what hostile requests come to."""

import json
import os
import stat
from pathlib import Path
from time import time

import pytest
import trio

from squire_gatherings import BadSetting
from squire_gatherings._admin.app import OPERATIONS
from squire_gatherings._admin.security import COOKIE, SESSION, Gate, Token
from tests.admin.port import Port, open_port

OPEN = ("/healthz", "/readyz")


async def test_everything_but_health_needs_the_token(tmp_path: Path) -> None:
    async with open_port(tmp_path) as port:
        asked = [(one.method, one.path.replace("{gathering}", "a")) for one in OPERATIONS]
        asked += [("GET", "/metrics"), ("GET", "/api/v1/openapi.json")]
        wrong: tuple[dict[str, str], ...] = (
            {},
            {"Authorization": f"Bearer {port.token}x"},
            {"Authorization": f"Basic {port.token}"},
            {"Authorization": port.token},
            {"Cookie": f"{COOKIE}={port.token}"},
            {"Cookie": f"{COOKIE}=9999999999.{'0' * 64}"},
        )
        for method, path in asked:
            for headers in wrong if path == "/metrics" else wrong[:1]:
                answer = await port.stranger.request(method, path, headers=headers)
                assert answer.status_code == 401, (method, path, headers)
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")
                assert answer.json()["code"] == "unauthorized"
        for path in OPEN:
            assert (await port.stranger.get(path)).status_code == 200
        answer = await port.stranger.get(f"/metrics?token={port.token}")
        assert answer.status_code == 401


async def test_metrics_may_be_given_to_anybody(tmp_path: Path) -> None:
    async with open_port(tmp_path, open_metrics=True) as port:
        assert (await port.stranger.get("/metrics")).status_code == 200
        assert (await port.stranger.get("/api/v1/hall")).status_code == 401


async def test_a_browser_logs_in_and_out(tmp_path: Path) -> None:
    now = 1_000_000.0
    async with open_port(tmp_path, wall_clock=lambda: now) as port:
        browser, origin = port.stranger, {"Origin": str(port.stranger.base_url).rstrip("/")}
        answer = await browser.post("/login", json={"token": "x" * 40}, headers=origin)
        assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
        answer = await browser.post("/login", json={"token": port.token}, headers=origin)
        assert answer.status_code == 204
        said = answer.headers["set-cookie"]
        assert port.token not in said
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(said.split("; "))
        assert (await browser.get("/api/v1/hall")).status_code == 200
        # What changes something must come from our own page, and say so.
        path = "/api/v1/gatherings/a/disperse"
        assert (await browser.post(path)).status_code == 401
        assert (await browser.post(path, headers=origin)).status_code == 200
        answer = await browser.post(path, headers={"Origin": "http://127.0.0.1:1"})
        assert (answer.status_code, answer.json()["code"]) == (403, "wrong_origin")

        now += SESSION - 1
        assert (await browser.get("/api/v1/hall")).status_code == 200
        now += 1
        assert (await browser.get("/api/v1/hall")).status_code == 401
        await browser.post("/login", json={"token": port.token}, headers=origin)
        assert (await browser.get("/api/v1/hall")).status_code == 200
        await browser.post("/logout", headers=origin)
        assert (await browser.get("/api/v1/hall")).status_code == 401


async def test_a_new_token_ends_all_sessions(tmp_path: Path) -> None:
    async with open_port(tmp_path) as port:
        await port.stranger.post("/login", json={"token": port.token})
        assert (await port.stranger.get("/api/v1/hall")).status_code == 200
        (tmp_path / "token").write_text("n" * 40)
        port.admin.reload()
        assert (await port.stranger.get("/api/v1/hall")).status_code == 401
        assert (await port.client.get("/api/v1/hall")).status_code == 401
        headers = {"Authorization": "Bearer " + "n" * 40}
        assert (await port.client.get("/api/v1/hall", headers=headers)).status_code == 200
        (tmp_path / "token").write_text("too short")
        with pytest.raises(BadSetting):
            port.admin.reload()
        assert (await port.client.get("/api/v1/hall", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:80", 200),
        ("[::1]:8766", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("admin.example", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("evil@localhost", 421),
        ("localhost:port", 421),
        ("localhost/x", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_only_our_own_names_are_heard(tmp_path: Path, host: str, status: int) -> None:
    gate = Gate(Token(str(tmp_path / "token")), frozenset({"admin.example"}), time)
    assert _status(gate, {"host": host}) == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8766", 200),
        ("https://localhost:8766", 200),
        ("HTTP://localhost:8766", 403),
        ("http://localhost:8767", 403),
        ("http://localhost", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_only_our_own_pages_are_heard(tmp_path: Path, origin: str, status: int) -> None:
    gate = Gate(Token(str(tmp_path / "token")), frozenset(), time)
    assert _status(gate, {"host": "localhost:8766", "origin": origin}) == status


def _status(gate: Gate, headers: dict[str, str]) -> int:
    from squire_gatherings._admin.problems import Refusal

    try:
        gate.check_host(headers, 1)
    except Refusal as refusal:
        return refusal.status
    return 200


async def test_no_answer_may_be_shown_in_a_foreign_page_or_kept(tmp_path: Path) -> None:
    async with open_port(tmp_path) as port:
        for path in ("/healthz", "/metrics", "/api/v1/hall", "/nothing", "/api/v1/gatherings?x=1"):
            headers = (await port.client.get(path)).headers
            assert headers["cache-control"] == "no-store"
            assert headers["x-content-type-options"] == "nosniff"
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert not [name for name in headers if name.startswith("access-control-")]
            assert "server" not in headers
        answer = await port.client.options("/api/v1/hall")
        assert answer.status_code == 405


def test_the_token_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    os.umask(before := os.umask(0))
    file = tmp_path / "token"
    first, second = Token(str(file)), Token(str(file))
    assert (first.is_new, second.is_new) == (True, False)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_text().strip()) >= 32
    assert not first.is_open
    assert second.matches(file.read_text().strip())
    assert file.read_text().strip() not in repr(first)
    file.chmod(0o644)
    assert Token(str(file)).is_open
    assert [one.name for one in tmp_path.iterdir()] == ["token"]
    os.umask(before)


@pytest.mark.parametrize("content", ["", "short", "x" * 1025, "two words " * 10, "ü" * 40])
def test_what_is_no_token_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    with pytest.raises(BadSetting, match="has no token"):
        Token(str(file))
    assert file.read_text() == content


def test_a_file_that_cannot_be_used_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="can't make the token's file"):
        Token(str(tmp_path / "nowhere" / "token"))
    with pytest.raises(BadSetting, match="can't read the token"):
        Token(str(tmp_path))


JSON = {"Content-Type": "application/json"}
KICK = "/api/v1/users/kick"


BAD: tuple[tuple[str, str, dict[str, str], bytes, int, str], ...] = (
    ("POST", KICK, JSON, b"", 400, "bad_body"),
    ("POST", KICK, JSON, b"{", 400, "bad_body"),
    ("POST", KICK, JSON, b"\xff", 400, "bad_body"),
    ("POST", KICK, JSON, b"[" * 60_000, 400, "bad_body"),
    ("POST", KICK, JSON, b'{"user": 1}', 400, "bad_body"),
    ("POST", KICK, JSON, b'{"user": ""}', 400, "bad_body"),
    ("POST", KICK, JSON, b'{"user": "a", "x": 1}', 400, "bad_body"),
    ("POST", KICK, JSON, b'{"user": "\\ud800"}', 400, "bad_body"),
    ("POST", KICK, JSON, b'{"user": "a", "gathering": ".."}', 400, "bad_body"),
    ("POST", KICK, JSON, b'{"user": "' + b"a" * 65536, 413, "too_big"),
    ("POST", KICK, {}, b'{"user": "a"}', 415, "not_json"),
    ("POST", KICK, {"Content-Type": "text/plain"}, b'{"user": "a"}', 415, "not_json"),
    ("POST", "/login", JSON, b'{"token": 1}', 400, "bad_body"),
    ("POST", "/login", {}, b"token=x", 415, "not_json"),
    ("GET", KICK, {}, b"", 405, "wrong_method"),
    ("PATCH", "/api/v1/gatherings/a", {}, b"", 405, "wrong_method"),
    ("BREW", "/api/v1/gatherings", {}, b"", 405, "wrong_method"),
    ("GET", "/api/v1/gatherings/%2e%2e", {}, b"", 400, "bad_id"),
    ("GET", "/api/v1/gatherings/%2e%2e%2f%2e%2e%2fetc%2fpasswd", {}, b"", 404, "no_page"),
    ("GET", "/api/v1/gatherings/a%00b", {}, b"", 400, "bad_id"),
    ("GET", "/api/v1/gatherings/a%20b", {}, b"", 400, "bad_id"),
    ("GET", "/api/v1/gatherings/" + "a" * 129, {}, b"", 400, "bad_id"),
    ("GET", "/api/v1/gatherings/%ff", {}, b"", 400, "bad_id"),
    ("GET", "/api/v1/gatherings?limit=0", {}, b"", 400, "bad_query"),
    ("GET", "/api/v1/gatherings?limit=ten", {}, b"", 400, "bad_query"),
    ("GET", "/api/v1/gatherings?limit=99999999999999999999", {}, b"", 400, "bad_query"),
    ("GET", "/api/v1/gatherings?limit=1&limit=2", {}, b"", 400, "bad_query"),
    ("GET", "/api/v1/gatherings?sort=secret", {}, b"", 400, "bad_query"),
    ("GET", "/api/v1/gatherings?cursor=%00", {}, b"", 400, "bad_cursor"),
    ("GET", "/api/v1/gatherings?cursor=kqFhoWI&sort=seq", {}, b"", 400, "bad_cursor"),
    ("GET", "/api/v1/hall?x=1", {}, b"", 400, "bad_query"),
    ("GET", "/api//evil.example/", {}, b"", 404, "no_page"),
    ("GET", "/api/v1/hall/", {}, b"", 404, "no_page"),
)


async def test_a_bad_request_is_told_what_is_wrong(tmp_path: Path) -> None:
    async with open_port(tmp_path) as port:
        for method, path, headers, body, status, code in BAD:
            answer = await port.client.request(method, path, headers=headers, content=body)
            said = answer.json()
            asked = (method, path, body[:50], said)
            assert (answer.status_code, said["code"], said["status"]) == (status, code, status), (
                asked
            )
            assert answer.headers["content-type"] == "application/problem+json", asked
            assert "Traceback" not in answer.text, asked
        assert (await port.client.get("/healthz")).status_code == 200


async def _raw(port: Port, data: bytes) -> bytes:
    """Send bytes as they are; return what comes until the port hangs up."""
    stream = await trio.open_tcp_stream("127.0.0.1", port.admin.addresses[0][1])
    async with stream:
        await stream.send_all(data)
        return b"".join([part async for part in stream])


AUTHORIZED = "GET /api/v1/hall HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"


NO_REQUESTS: tuple[tuple[str, set[int]], ...] = (
    ("nonsense\r\n\r\n", {400}),
    ("GET / HTTP/1.1\r\nHost: localhost\r\nX: " + "x" * 100_000 + "\r\n\r\n", {400, 431}),
    ("GET / HTTP/1.1\r\n\r\n", {400, 421}),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n", {400, 421}),
    (AUTHORIZED + "\r\n", {401}),
    (
        AUTHORIZED
        + "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        + "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        {400, 401, 403},
    ),
    ("POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", {400}),
    (
        "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nZZ\r\n",
        {400},
    ),
    ("GET http://[::1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", {400, 404}),
)


async def test_what_is_no_request_gets_an_answer_and_ends_nothing(tmp_path: Path) -> None:
    async with open_port(tmp_path) as port:
        for data, statuses in NO_REQUESTS:
            with trio.fail_after(20):
                answer = await _raw(port, data.encode())
            assert int(answer.split()[1]) in statuses, (data[:200], answer)
            assert b"Traceback" not in answer
            assert (await port.client.get("/healthz")).status_code == 200


async def test_secrets_reach_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with open_port(tmp_path) as port:
        await port.stranger.post("/login", json={"token": port.token})
        cookie = port.stranger.cookies[COOKIE]
        await port.get("/api/v1/hall")
        await port.stranger.get("/api/v1/hall")
        await port.client.get("/nothing")
    ours = [one for one in caplog.records if one.name.startswith("squire_gatherings")]
    said = json.dumps([{**vars(one), "args": str(one.args)} for one in ours], default=str)
    assert port.token not in said
    assert cookie not in said


async def test_hosts_are_checked_before_anything_else(tmp_path: Path) -> None:
    async with open_port(tmp_path, names=("Admin.Example",)) as port:
        for path in ("/healthz", "/metrics", "/api/v1/hall", "/login", "/"):
            answer = await port.client.get(path, headers={"Host": "evil.example"})
            assert (answer.status_code, answer.json()["code"]) == (421, "wrong_host")
        answer = await port.client.get("/healthz", headers={"Host": "admin.example:1"})
        assert answer.status_code == 200
