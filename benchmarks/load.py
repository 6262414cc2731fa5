"""A small load: a serving process, many real connections, and a check of all that they saw.

Prints throughput, latency from sync to `synced`, and how late each gathering dispersed;
exits with 1 if an onlooker missed an op, got one twice or out of order, or if a
gathering ended early or without its notice. (One generating process: it saturates before
the server does, so that its figures are lower bounds.)
"""

import argparse
import json
import subprocess
import sys
import time
from statistics import quantiles

import trio
from attrs import define, field
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream


@define
class Seen:
    """What all the clients saw."""

    latencies: list[float] = field(factory=list)
    lateness: list[float] = field(factory=list)
    forwards: int = 0
    violations: list[str] = field(factory=list)


async def onlook(
    port: int, room: str, submit: bool, options: argparse.Namespace, seen: Seen
) -> None:
    """Join, submit at a rate or only listen, and stay until the notice comes."""
    async with (
        await trio.open_tcp_stream("127.0.0.1", port) as stream,
        trio.open_nursery() as nursery,
    ):
        client: WebSocketConnection = await wrap_client_stream(
            nursery, stream, "127.0.0.1", f"/gatherings/{room}"
        )
        await client.send_message(json.dumps({"type": "join", "since": 0}))
        joined = json.loads(await client.get_message())
        have = joined["seq"]
        sent: dict[str, float] = {}
        last = trio.current_time()
        if submit:
            nursery.start_soon(submit_ops, client, options, sent)
        try:
            while True:
                message = json.loads(await client.get_message())
                now = trio.current_time()
                match message["type"]:
                    case "forward":
                        count = len(message.get("ops", (0,)))
                        if message["seq"] != have + 1:
                            seen.violations.append(f"{room}: {message['seq']} after {have}")
                        have = message["seq"] + count - 1
                        seen.forwards += count
                        await client.send_message(json.dumps({"type": "ack", "seq": have}))
                        last = now
                    case "synced":
                        if message["seqs"] != [have + 1]:
                            seen.violations.append(f"{room}: {message['seqs']} after {have}")
                        have = message["seqs"][-1]
                        seen.latencies.append(now - sent.pop(message["id"]))
                        last = now
                    case "dispersed":
                        if have != message["seq"] or sent:
                            seen.violations.append(f"{room}: ended at {message['seq']}, has {have}")
                        seen.lateness.append(message["idle_for"] - options.idle_timeout)
                        if now - last < options.idle_timeout * 0.9:
                            seen.violations.append(f"{room}: dispersed after {now - last:.3f} s")
                    case other:
                        seen.violations.append(f"{room}: {other}: {message}")
        except ConnectionClosed as closed:
            if closed.reason is None or closed.reason.code != 4001:
                seen.violations.append(f"{room}: closed with {closed.reason}")
        nursery.cancel_scope.cancel()


async def submit_ops(
    client: WebSocketConnection, options: argparse.Namespace, sent: dict[str, float]
) -> None:
    start = trio.current_time()
    for number in range(int(options.rate * options.duration)):
        await trio.sleep_until(start + number / options.rate)
        name = str(number)
        sent[name] = trio.current_time()
        op = {"n": number, "pad": "x" * options.op_size}
        sync = {"type": "sync", "id": name, "base": 0, "ops": [op]}
        await client.send_message(json.dumps(sync))


async def run(port: int, options: argparse.Namespace) -> Seen:
    seen = Seen()
    async with trio.open_nursery() as nursery:
        for room in range(options.gatherings):
            for number in range(options.onlookers):
                nursery.start_soon(onlook, port, f"room{room}", number == 0, options, seen)
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gatherings", type=int, default=20)
    parser.add_argument("--onlookers", type=int, default=5)
    parser.add_argument("--rate", type=float, default=10.0, help="ops a second and gathering")
    parser.add_argument("--op-size", type=int, default=100)
    parser.add_argument("--duration", type=float, default=5.0, help="seconds")
    parser.add_argument("--idle-timeout", type=float, default=2.0, help="seconds")
    parser.add_argument("--store", default="memory:")
    options = parser.parse_args()
    command = [sys.executable, "-m", "squire_gatherings", "serve", "--port", "0"]
    command += ["--store", options.store, "--idle-timeout", f"{options.idle_timeout}s"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline().rpartition(":")[2])
        start = time.perf_counter()
        seen = trio.run(run, port, options)
        seconds = time.perf_counter() - start
        server.terminate()
    expected = options.gatherings * int(options.rate * options.duration)
    if len(seen.latencies) != expected:
        seen.violations.append(f"{len(seen.latencies)} of {expected} syncs answered")
    if seen.forwards != expected * (options.onlookers - 1):
        seen.violations.append(
            f"{seen.forwards} forwards, not {expected * (options.onlookers - 1)}"
        )
    if len(seen.lateness) != options.gatherings * options.onlookers:
        seen.violations.append(f"{len(seen.lateness)} notices")
    for name, figures in (("sync to synced", seen.latencies), ("dispersal late by", seen.lateness)):
        cuts = quantiles(figures, n=100)
        print(
            f"{name}: p50 {cuts[49] * 1000:.2f} ms, p99 {cuts[98] * 1000:.2f} ms, "
            f"max {max(figures) * 1000:.2f} ms"
        )
    print(
        f"{expected} syncs, {seen.forwards} forwards in {seconds:.1f} s, "
        f"{len(seen.lateness)} notices, {len(seen.violations)} violations"
    )
    for violation in seen.violations[:10]:
        print(violation)
    sys.exit(1 if seen.violations else 0)


if __name__ == "__main__":
    main()
