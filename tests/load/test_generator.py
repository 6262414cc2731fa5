"""A generator process that begins late, on a busy machine, goes on all the same."""

import subprocess
import sys
from time import monotonic

import msgspec
from attrs import evolve

from squire_gatherings._load.process.orders import Orders
from tests.cli.process import PATIENCE
from tests.load.running import SMALL


def test_a_late_process_reports_at_once() -> None:
    # There is nothing to do, and the process is one second late.
    plan = evolve(SMALL, gatherings=1, processes=2, host="127.0.0.1")
    orders = Orders(plan=plan, process=1, start=monotonic() - 1)
    with subprocess.Popen(
        [sys.executable, "-m", "squire_gatherings._load.process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdout.readline()
            process.stdin.write(msgspec.json.encode(orders) + b"\n")
            process.stdin.flush()
            reports = [msgspec.json.decode(process.stdout.readline() or b"{}") for _ in range(3)]
            assert all("phase" in report for report in reports)
            process.stdin.write(b"quit\n")
            process.stdin.close()
            assert process.wait(timeout=PATIENCE) == 0
        finally:
            process.kill()
