"""Origins: which web pages may connect, and how a program names them."""

from typing import Any

import pytest
import trio

from squire_gatherings import BadSetting, ServerSettings
from squire_gatherings._values.origins import OriginRule, is_loopback
from tests.server.test_server import a_server, exchange, request


def headers(origin: str | None, host: str = "rooms.example") -> list[tuple[str, str]]:
    said = [("Host", host), ("X", "y")]
    return said if origin is None else [*said, ("ORIGIN", origin)]


@pytest.mark.parametrize(
    ("origin", "host", "may"),
    [
        (None, "rooms.example", True),
        ("https://rooms.example", "rooms.example", True),
        ("https://rooms.example:443", "rooms.example", True),
        ("https://rooms.example", "rooms.example:443", True),
        ("http://rooms.example", "rooms.example:80", True),
        ("HTTPS://Rooms.Example", "rooms.EXAMPLE", True),
        ("http://rooms.example:8765", "rooms.example:8765", True),
        ("http://[2001:db8::1]:8765", "[2001:db8::1]:8765", True),
        ("http://rooms.example", "rooms.example:8765", False),
        ("http://rooms.example:8765", "rooms.example", False),
        ("https://rooms.example", "rooms.example:80", False),
        ("https://evil.example", "rooms.example", False),
        ("https://rooms.example.evil.example", "rooms.example", False),
        ("https://evil-rooms.example", "rooms.example", False),
        ("https://rooms.example@evil.example", "rooms.example", False),
        ("https://evil.example#rooms.example", "rooms.example", False),
        ("https://rooms.example/", "rooms.example", False),
        ("https://rooms.example.", "rooms.example", False),
        ("chrome-extension://rooms.example", "rooms.example", False),
        ("file://", "rooms.example", False),
        ("null", "null", False),
        ("", "", False),
        ("*", "*", False),
        ("rooms.example", "rooms.example", False),
        ("https://", "", False),
        ("https://rooms.example:x", "rooms.example:x", False),
        ("https://rooms.example:99999", "rooms.example:99999", False),
        ("https://[", "[", False),
        ("https://r\xf6ms.example", "r\xf6ms.example", False),
        ("https://rooms.example https://rooms.example", "rooms.example", False),
    ],
)
def test_by_default_the_servers_own_pages_may(origin: str | None, host: str, may: bool) -> None:
    assert OriginRule().allows(headers(origin, host)) is may


@pytest.mark.parametrize(
    ("origin", "host", "may"),
    [
        ("http://localhost:8765", "localhost:8765", True),
        ("http://127.0.0.1:8765", "127.0.0.1:8765", True),
        ("http://127.9.9.9:8765", "127.9.9.9:8765", True),
        ("http://[::1]:8765", "[::1]:8765", True),
        ("http://rooms.localhost:8765", "rooms.localhost:8765", True),
        ("http://localhost:3000", "localhost:8765", False),
        ("http://localhost:8765", "127.0.0.1:8765", False),
        # Names that anybody can point at this machine.
        ("http://evil.example:8765", "evil.example:8765", False),
        ("http://localhost.evil.example:8765", "localhost.evil.example:8765", False),
        ("http://127.0.0.1.nip.io:8765", "127.0.0.1.nip.io:8765", False),
        ("http://0.0.0.0:8765", "0.0.0.0:8765", False),
        ("http://192.168.0.1:8765", "192.168.0.1:8765", False),
    ],
)
def test_on_this_machine_none_from_elsewhere_may(origin: str, host: str, may: bool) -> None:
    assert OriginRule(loopback=True).allows(headers(origin, host)) is may


def test_what_is_allowed_is_that_and_nothing_else() -> None:
    settings = ServerSettings(
        allow_origins=["https://App.Example:443", "null", "moz-extension://7"]
    )
    assert settings.allow_origins == ("https://app.example", "null", "moz-extension://7")
    for loopback in (False, True):
        rule = OriginRule(settings.allow_origins, loopback)
        for origin in ("https://app.example", "null", "moz-extension://7", None):
            assert rule.allows(headers(origin)), origin
        for origin in ("https://rooms.example", "http://app.example", "*", "", "moz-extension://8"):
            assert not rule.allows(headers(origin)), origin
    for origin in ("https://any.example", "null"):
        assert OriginRule(("*",)).allows(headers(origin))


def test_an_address_may_be_written_in_any_way() -> None:
    settings = ServerSettings(allow_origins=["http://[2001:DB8:0:0::1]:8080"])
    assert settings.allow_origins == ("http://[2001:db8::1]:8080",)
    rule = OriginRule(settings.allow_origins)
    assert rule.allows(headers("http://[2001:db8::1]:8080"))
    assert not rule.allows(headers("http://[2001:db8::2]:8080"))


def test_two_origins_are_none() -> None:
    said = [*headers("https://rooms.example"), ("Origin", "https://rooms.example")]
    assert not OriginRule().allows(said)
    assert not OriginRule(("*",)).allows(said)


def test_two_hosts_are_none() -> None:
    assert not OriginRule().allows([*headers("https://rooms.example"), ("host", "rooms.example")])


@pytest.mark.parametrize(
    "origins",
    [
        "https://example.com",
        7,
        [7],
        ["example.com"],
        ["https://example.com/"],
        ["https://example.com/app"],
        ["https://*.example.com"],
        ["https://me@example.com"],
        ["https://example.com?x"],
        ["https://example.com:x"],
        ["https://exa mple.com"],
        ["https://caf\xe9.example"],
        ["//example.com"],
        ["://example.com"],
        ["https://[::1%25lo]"],
        [""],
    ],
)
def test_what_is_no_origin_is_a_bad_setting(origins: Any) -> None:
    with pytest.raises(BadSetting, match="origin"):
        ServerSettings(allow_origins=origins)


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("::ffff:10.0.0.1", False),
        ("10.0.0.1", False),
        ("127.0.0.1.example", False),
        ("127.1", False),
        ("", False),
        ("localhost2", False),
    ],
)
def test_which_addresses_are_this_machines(host: str, here: bool) -> None:
    assert is_loopback(host) is here


async def test_a_refusal_says_why_and_is_no_websocket() -> None:
    async with a_server() as (_, _, url):
        port = url.rpartition(":")[2]

        def ask() -> None:
            for origin, host, status in (
                (f"http://127.0.0.1:{port}", f"127.0.0.1:{port}", b"101"),
                ("https://evil.example", f"127.0.0.1:{port}", b"403"),
                # A gathering that doesn't exist gets the same answer, so nobody learns which exist.
                (f"http://evil.example:{port}", f"evil.example:{port}", b"403"),
            ):
                asked = request(Origin=origin, Host=host)
                if status == b"101":
                    # The client says nothing more, so the server notices that it is gone.
                    asked += b"\x88\x80\0\0\0\0"
                answer = exchange(url, asked)
                assert answer.split()[1] == status
                assert (b"--allow-origin" in answer) is (status == b"403")

        await trio.to_thread.run_sync(ask)
