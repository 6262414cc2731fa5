"""The webhook: what is posted, how it is signed, and what each answer leads to."""

import json
import logging
import socket
import sys
import time
from base64 import b64encode
from email.utils import formatdate
from typing import Any

import pytest
import trio

from squire_gatherings import BadSetting, Undelivered, Webhook, open_hall
from squire_gatherings._values.events import EventKind
from squire_gatherings._webhook.signing import Signer
from squire_gatherings._webhook.webhook import GONE, LONGEST_PAUSE, encode
from tests.events.telling import check
from tests.stores.appends import an_event
from tests.support import Recorder
from tests.webhook.receiver import SECRET, receiving

EVENTS = [an_event(1, EventKind.OPENED), an_event(2), an_event(3, EventKind.DISPERSED)]
OTHER = "whsec_" + b64encode(b"another secret, 32 bytes of it..").decode()


async def test_a_signature_is_as_the_specification_has_it() -> None:
    # The vector of the reference implementations.
    body = b'{"test": 2432232314}'
    headers = Signer.of([SECRET]).headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


async def test_events_are_posted_signed_and_in_one_message() -> None:
    with receiving() as receiver:
        webhook = Webhook(receiver.url, [SECRET])
        assert await webhook.deliver(EVENTS) == 3
        assert await webhook.deliver(EVENTS[:1]) == 1
        await webhook.aclose()
        assert receiver.taken == [*EVENTS, EVENTS[0]]
        assert receiver.requests == [("POST", "/hook?x=1")] * 2
        assert receiver.connections == 1
        assert receiver.headers["content-type"] == "application/json"
        assert receiver.headers["user-agent"] == "squire-gatherings"
    body = json.loads(encode(EVENTS))
    assert body["timestamp"] == "1970-01-01T00:00:01.003+00:00"
    assert body["data"]["events"][0] == {
        "number": 1,
        "id": "aa-1",
        "gathering": "a",
        "incarnation": "aa",
        "kind": "opened",
        "time": 1001,
        "data": {"seq": 1, "reason": "idle", "lateness": None, "lifetime": 0.5},
    }


async def test_one_secret_takes_anothers_place() -> None:
    with receiving() as receiver:
        webhook = Webhook(receiver.url, [OTHER])
        for secrets in ([OTHER, SECRET], [SECRET, OTHER], [SECRET]):
            webhook.change_secrets(secrets)
            with pytest.raises(BadSetting):
                webhook.change_secrets(["whsec_short"])
            assert await webhook.deliver(EVENTS) == 3
            assert len(receiver.headers["webhook-signature"].split(" ")) == len(secrets)
        await webhook.aclose()


def in_the_future() -> str:
    return formatdate(time.time() + 100, usegmt=True)


ANSWERS: list[tuple[int, dict[str, str], float | None]] = [
    (200, {}, None),
    (202, {}, None),
    (301, {"location": "/elsewhere"}, 0),
    (302, {"location": "/elsewhere"}, 0),
    (400, {}, 0),
    (401, {}, 0),
    (404, {}, 0),
    (410, {}, GONE),
    (413, {}, 0),
    (429, {"retry-after": "17"}, 17),
    (500, {}, 0),
    (503, {"retry-after": "99999999"}, LONGEST_PAUSE),
    (503, {"retry-after": "9" * 5000}, LONGEST_PAUSE),
    (503, {"retry-after": "a date"}, 100),
    (503, {"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0),
    (503, {"retry-after": "soon"}, 0),
    (503, {"retry-after": "-5"}, 0),
    (599, {}, 0),
    (799, {}, 0),
]
"""Each with how many seconds pass before the same is posted again; None where it needn't be."""


async def test_what_an_answer_leads_to() -> None:
    with receiving() as receiver:
        webhook = Webhook(receiver.url, [SECRET])
        for status, headers, pause in ANSWERS:
            if pause == 100:
                headers = {"retry-after": in_the_future()}
            receiver.answers = [(status, headers)]
            if pause is None:
                assert await webhook.deliver(EVENTS) == 3
                continue
            with pytest.raises(Undelivered, match=str(status)) as raised:
                await webhook.deliver(EVENTS)
            assert raised.value.pause == pytest.approx(pause, abs=60 if pause == 100 else 0)
            assert "hook" not in str(raised.value)
            assert await webhook.deliver(EVENTS) == 3
            # The message is the same.
            assert receiver.messages[-2] == receiver.messages[-1]
        await webhook.aclose()
        # The connection was used again, and no redirect was followed.
        assert receiver.connections == 1
        assert set(receiver.requests) == {("POST", "/hook?x=1")}


async def test_a_receiver_that_does_not_answer_in_time() -> None:
    with receiving(delay=1.0) as receiver:
        webhook = Webhook(receiver.url, [SECRET], timeout=0.05)
        with pytest.raises(Undelivered, match=r"no answer within 0\.05 s"):
            await webhook.deliver(EVENTS)
        await webhook.aclose()


async def test_a_receiver_that_is_not_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        webhook = Webhook(f"http://127.0.0.1:{free.getsockname()[1]}/", [SECRET])
        with pytest.raises(Undelivered, match=r"^http://127\.0\.0\.1:\d+: "):
            await webhook.deliver(EVENTS)
        await webhook.aclose()


NO_ANSWERS = [
    b"",
    b"HTTP/1.1 204",
    b"nonsense\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
]


async def test_an_answer_that_is_none_is_no_delivery() -> None:
    said = list(NO_ANSWERS)

    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(said.pop())
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, answer, 0)
        port = listeners[0].socket.getsockname()[1]
        webhook = Webhook(f"http://127.0.0.1:{port}/", [SECRET])
        for _ in NO_ANSWERS:
            with pytest.raises(Undelivered):
                await webhook.deliver(EVENTS)
        assert said == []
        await webhook.aclose()
        nursery.cancel_scope.cancel()


async def test_an_endless_answer_is_not_read_to_its_end() -> None:
    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        try:
            while True:
                await stream.send_all(b"8000\r\n" + bytes(0x8000) + b"\r\n")
        except trio.BrokenResourceError:
            pass

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, answer, 0)
        port = listeners[0].socket.getsockname()[1]
        webhook = Webhook(f"http://127.0.0.1:{port}/", [SECRET])
        with trio.fail_after(10):
            assert await webhook.deliver(EVENTS) == 3
        await webhook.aclose()
        nursery.cancel_scope.cancel()


async def test_a_whole_hall_is_told_through_failures(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "squire_gatherings")
    with receiving(answers=[(500, {}), (503, {}), (204, {}), (400, {})]) as receiver:
        webhook = Webhook(receiver.url, [SECRET])
        async with open_hall(on_event=webhook, close_grace=10) as hall:
            for name in "abc":
                member = await hall.join(name, Recorder())
                member.detach()
            await trio.to_thread.run_sync(receiver.wait_for, 9)
            for name in "abc":
                await hall.disperse(name)
        assert len(receiver.taken) == 12
        check(receiver.taken, all_ended=True)
        said = [one.getMessage() for one in caplog.records]
        assert sum("events can't be delivered" in one for one in said) == 2
        assert sum("delivered again" in one for one in said) == 2
        everything = " ".join(said) + repr(webhook)
        assert "hook" not in everything.replace("Webhook", "")
        assert SECRET not in everything


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hook",
        "ftp://host/",
        "http://",
        "http:///path",
        "http://host:99999/",
        "http://host:0/",
        "http://ho st/",
        "http://host/\n",
        "http://höst/",
        "http://alice:secret@host/",
        "http://alice@host/",
        "http://@host/",
        "http://[::1/",
        7,
        None,
    ],
)
def test_a_url_that_cannot_be_one_is_refused(url: Any) -> None:
    with pytest.raises(BadSetting, match="a webhook's URL") as raised:
        Webhook(url, [SECRET])
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "secrets",
    [
        [],
        SECRET,
        ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        ["whsec_"],
        ["whsec_MfKQ9r8GKYqrTwjUPD8"],
        ["whsec_" + b64encode(bytes(65)).decode()],
        ["whsec_not base64 at all, is it: no"],
        [SECRET, ""],
        [SECRET] * 9,
        [7],
    ],
)
def test_a_secret_that_cannot_be_one_is_refused(secrets: Any) -> None:
    with pytest.raises(BadSetting) as raised:
        Webhook("http://host/", secrets)
    assert "MfKQ" not in str(raised.value)


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
def test_a_timeout_that_cannot_be_one_is_refused(timeout: float) -> None:
    with pytest.raises(BadSetting, match="timeout"):
        Webhook("http://host/", [SECRET], timeout=timeout)


def test_without_httpx_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "squire_gatherings._webhook.posting", raising=False)
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(BadSetting, match=r"pip install 'squire-gatherings\[webhook\]'"):
        Webhook("http://host/", [SECRET])
