"""The port itself: how it begins, what it survives, how it ends, and what it says of its health."""

import contextlib
import socket
from functools import partial
from pathlib import Path

import httpx
import hypercorn.trio
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings import open_hall
from squire_gatherings._admin import health
from squire_gatherings._admin.health import Health
from squire_gatherings._admin.metrics.loop_delay import LoopDelay
from squire_gatherings._hall.parts import observer_of
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings.admin import Admin, admin_app, serve_admin
from tests.admin.port import PATIENT, open_port, serving


async def test_it_ends_with_its_nursery_and_leaves_nothing(tmp_path: Path) -> None:
    async with open_hall() as hall:
        async with trio.open_nursery() as nursery:
            serve = partial(serve_admin, hall, port=0, token_file=str(tmp_path / "token"))
            admin: Admin = await nursery.start(serve)
            host, port = admin.addresses[0]
            # One that has said nothing, one in the middle of a request, one kept alive.
            async with httpx.AsyncClient(**PATIENT) as client:
                assert (await client.get(f"http://{host}:{port}/healthz")).status_code == 200
                silent = await trio.open_tcp_stream(host, port)
                begun = await trio.open_tcp_stream(host, port)
                await begun.send_all(b"POST /login HTTP/1.1\r\nHost: localhost\r\n")
                await wait_all_tasks_blocked()
                with trio.fail_after(20):
                    nursery.cancel_scope.cancel()
                    await trio.lowlevel.checkpoint_if_cancelled()
        with pytest.raises(OSError, match="connect"):
            await trio.open_tcp_stream(host, port)
        await silent.aclose()
        await begun.aclose()
        assert hall.gatherings() == ()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system has no such limit")
async def test_one_who_reads_nothing_delays_the_end_by_close_grace(tmp_path: Path) -> None:
    async with open_hall(close_grace=1.0) as hall:
        for _ in range(60):
            await hall.submit("big", [{"text": "x" * 200_000}])
        with trio.fail_after(30):
            async with serving(hall, tmp_path) as port, trio.open_nursery() as nursery:
                stuck = trio.socket.socket()
                stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                await stuck.connect(("127.0.0.1", port.admin.addresses[0][1]))
                await stuck.send(
                    b"GET /api/v1/gatherings/big/export HTTP/1.1\r\nHost: localhost\r\n"
                    + f"Authorization: Bearer {port.token}\r\n\r\n".encode()
                )
                await wait_all_tasks_blocked()
                # Others are served meanwhile.
                assert (await port.client.get("/healthz")).status_code == 200
                nursery.cancel_scope.cancel()
        stuck.close()


async def test_streams_end_when_the_port_is_to_stop(tmp_path: Path) -> None:
    async with open_port(tmp_path) as port:
        for _ in range(60):
            await port.hall.submit("big", [{"text": "x" * 200_000}])
        port.admin.stop()
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            await port.client.get("/api/v1/gatherings/big/export")
        # What is short is still answered.
        assert (await port.client.get("/healthz")).status_code == 200


async def test_what_hypercorn_fails_over_ends_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("squire_gatherings._admin.serving.AGAIN_AFTER", 0)
    real = hypercorn.trio.serve
    failed: list[bool] = []

    async def fails_once(*arguments: object, **options: object) -> None:
        if not failed:
            failed.append(True)
            raise KeyError("a bug")
        await real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(hypercorn.trio, "serve", fails_once)
    async with open_port(tmp_path) as port:
        assert (await port.client.get("/healthz")).status_code == 200
        assert failed
    assert "the admin port failed, and begins anew" in caplog.text


async def test_a_bug_of_ours_is_an_answer_and_a_line_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_port(tmp_path) as port:
        monkeypatch.setattr(type(port.hall), "disperse", lambda *_: 1 / 0)
        answer = await port.client.post("/api/v1/gatherings/a/disperse")
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert "ZeroDivisionError" not in answer.text
    assert caplog.text.count("a request to the admin port failed") == 1
    assert caplog.text.count("ZeroDivisionError") == 1


async def test_the_address_may_be_taken(tmp_path: Path) -> None:
    async with open_port(tmp_path) as port:
        serve = partial(
            serve_admin,
            port.hall,
            port=port.admin.addresses[0][1],
            token_file=str(tmp_path / "token"),
        )
        async with trio.open_nursery() as nursery:
            with pytest.raises(OSError, match="in use"):
                await nursery.start(serve)


async def test_a_program_may_serve_the_application_itself(tmp_path: Path) -> None:
    async with open_hall() as hall:
        app = admin_app(hall, token_file=str(tmp_path / "token"), open_metrics=True)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            assert (await client.get("/metrics")).status_code == 200
            assert (await client.get("/api/v1/hall")).status_code == 401
            headers = {"Authorization": f"Bearer {(tmp_path / 'token').read_text().strip()}"}
            assert (await client.get("/api/v1/hall", headers=headers)).status_code == 200


# Health.


class Stuck(MemoryStore):
    """A store that never answers, or fails, once it is told to."""

    mood = "well"

    async def changes(self) -> int:
        if self.mood == "stuck":
            await trio.sleep_forever()
        if self.mood == "broken":
            raise OSError("no such file: /secret/path")
        return await super().changes()


async def test_readiness_says_what_is_wrong(autojump_clock: MockClock) -> None:
    store, loop = Stuck(), LoopDelay()
    async with open_hall(store=store) as hall, trio.open_nursery() as nursery:
        nursery.start_soon(loop.run)
        ours = Health(hall, observer_of(hall), loop, None)

        async def wrong() -> dict[str, str]:
            await trio.sleep(10)
            checks = await ours.checks()
            return {name: check["why"] for name, check in checks.items() if not check["ok"]}

        assert await wrong() == {}
        store.mood = "stuck"
        assert await wrong() == {"store": "no answer within 2 seconds"}
        store.mood = "broken"
        assert await wrong() == {"store": "it can't be read: OSError"}
        store.mood = "well"
        autojump_clock.jump(3)
        await trio.sleep(0.2)
        checks = await ours.checks()
        assert "others held the thread" in checks["loop"]["why"]
        assert await wrong() == {}
        await hall.close()
        assert await wrong() == {"hall": "the server is shutting down"}
        nursery.cancel_scope.cancel()


async def test_however_many_ask_the_store_is_asked_once_a_second(
    autojump_clock: MockClock,
) -> None:
    asked = 0

    class Counting(MemoryStore):
        async def changes(self) -> int:
            nonlocal asked
            asked += 1
            await trio.sleep(0.1)
            return await super().changes()

    async with open_hall(store=Counting()) as hall:
        ours = Health(hall, observer_of(hall), LoopDelay(), None)
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(ours.checks)
        assert asked == 1
        await trio.sleep(1)
        await ours.checks()
        assert asked == 2


async def test_a_port_that_is_not_ready_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = f"sqlite:///{tmp_path}/rooms.sqlite3"
    async with open_port(tmp_path, store=store) as port:
        monkeypatch.setattr(health, "LEAST_DISK", 2**62)
        answer = await port.stranger.get("/readyz")
        said = answer.json()
        assert (answer.status_code, said["ready"]) == (503, False)
        assert said["checks"]["disk"]["why"] == "the store's disk is full"
        assert said["checks"]["store"]["ok"]
        assert str(tmp_path) not in answer.text
        with contextlib.suppress(httpx.HTTPError):
            await port.hall.close()
            answer = await port.stranger.get("/readyz")
            assert answer.json()["checks"]["hall"]["why"] == "the server is shutting down"
