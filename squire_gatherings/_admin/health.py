"""Health: whether the process lives, and whether it can serve."""

import os
import shutil
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import trio
from attrs import define, field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from squire_gatherings._admin.metrics.loop_delay import LoopDelay
from squire_gatherings._cluster.node import LocalNode, local_node_of
from squire_gatherings._hall.archive import Archive
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.observing import Observer
from squire_gatherings._values.nodes import NodeState

PATIENCE = 2.0
"""How many seconds the store and the disk may take to answer."""

LEAST_DISK = 64 * 1024**2
"""How many bytes the store's file system must have left."""

MOST_DELAY = 1.0
"""How many seconds the loop may have been late, within the last seconds."""

AGE = 1.0
"""How many seconds an answer is given again: asking costs little, however many ask."""


@define(eq=False)
class Health:
    """Looks whether all is well."""

    hall: Hall
    observer: Observer
    loop: LoopDelay
    folder: str | None
    """Where the store's file is; None where there is none."""
    _asking: trio.Lock = field(factory=trio.Lock)
    _threads: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(1))
    _answer: dict[str, dict[str, Any]] | None = None
    _asked_at: float = 0.0

    async def checks(self) -> dict[str, dict[str, Any]]:
        """Return what each check came to. Cancellation: nothing happened."""
        async with self._asking:
            now = trio.current_time()
            if self._answer is None or now - self._asked_at >= AGE:
                self._answer = {
                    "store": await _within_patience(self._ask_the_store),
                    "disk": await _within_patience(self._look_at_the_disk),
                }
                self._asked_at = trio.current_time()
            looked = {"hall": self._look_at_the_hall(), **self._answer}
            node = local_node_of(self.hall)
            if node is not None:
                looked["node"] = _look_at_the_node(node, trio.current_time())
            return looked | {"loop": self._look_at_loop()}

    def _look_at_the_hall(self) -> dict[str, Any]:
        if self.observer.is_closed:
            return {"ok": False, "why": "the server is shutting down"}
        return {"ok": True}

    def _look_at_loop(self) -> dict[str, Any]:
        worst = self.loop.worst(trio.current_time())
        if worst > MOST_DELAY:
            why = f"others held the thread for {worst:.1f} seconds"
            return {"ok": False, "why": why, "delay_seconds": round(worst, 6)}
        return {"ok": True, "delay_seconds": round(worst, 6)}

    async def _ask_the_store(self) -> dict[str, Any]:
        store = self.hall.store
        began = trio.current_time()
        if isinstance(store, Archive):
            await store.changes()
        else:
            await store.find_head("-", seq=1)
        return {"ok": True, "seconds": round(trio.current_time() - began, 6)}

    async def _look_at_the_disk(self) -> dict[str, Any]:
        if self.folder is None:
            await trio.lowlevel.checkpoint()
            return {"ok": True}
        # A disk that doesn't answer takes one thread, however often it is asked.
        usage = await trio.to_thread.run_sync(
            shutil.disk_usage, self.folder, abandon_on_cancel=True, limiter=self._threads
        )
        if usage.free < LEAST_DISK:
            return {"ok": False, "why": "the store's disk is full", "free_bytes": usage.free}
        return {"ok": True, "free_bytes": usage.free}


def _look_at_the_node(local: LocalNode, now: float) -> dict[str, Any]:
    left = local.ownership.lease.until - now
    if left <= 0:
        return {"ok": False, "why": "it can't be told whether this is still a node"}
    if local.node.state is not NodeState.UP:
        return {"ok": False, "why": f"this node is {local.node.state}"}
    return {"ok": True, "lease_seconds": round(left, 6)}


async def _within_patience(check: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    try:
        with trio.fail_after(PATIENCE):
            return await check()
    except trio.TooSlowError:
        return {"ok": False, "why": f"no answer within {PATIENCE:.0f} seconds"}
    except Exception as error:
        # Whatever a store raises means that it can't be read now. Its text may name files.
        return {"ok": False, "why": f"it can't be read: {type(error).__name__}"}


def folder_of(store_name: str) -> str | None:
    """Return the folder of the file in which a store of ours is, by its name."""
    path = store_name.removeprefix("sqlite:///")
    return None if path == store_name else os.path.dirname(os.path.abspath(path))


def health_routes(health: Health) -> list[Route]:
    """Return the routes that need no token: they tell whether, and not of what."""

    async def alive(request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        return _json({"status": "ok"}, 200)

    async def ready(request: Request) -> Response:
        checks = await health.checks()
        is_ready = all(check["ok"] for check in checks.values())
        return _json({"ready": is_ready, "checks": checks}, 200 if is_ready else 503)

    return [
        Route("/healthz", alive, methods=["GET"]),
        Route("/readyz", ready, methods=["GET"]),
    ]


def _json(value: object, status: int) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
