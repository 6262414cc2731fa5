"""The Containerfile: what can be tried without an engine, by doing what an engine would do."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

from squire_gatherings._cli.serve import serve
from tests.cli.process import PATIENCE, READY
from tests.deploy.tools import DEPLOY, found, run

FILE = DEPLOY / "container" / "Containerfile"
STEPS = [
    line.split(maxsplit=1)
    for line in re.sub(r"^#.*\n", "", FILE.read_text(), flags=re.MULTILINE)
    .replace("\\\n", " ")
    .splitlines()
    if line.strip()
]


def step(name: str) -> str:
    """Return the arguments of an instruction that is there once."""
    [arguments] = [rest for instruction, rest in STEPS if instruction == name]
    return arguments


def variables() -> dict[str, str]:
    return dict(one.split("=", 1) for one in step("ENV").split())


def test_hadolint_finds_nothing() -> None:
    done = run(found("hadolint"), FILE)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_copied_is_there() -> None:
    copies = [rest.split() for name, rest in STEPS if name == "COPY" and "--from" not in rest]
    assert copies
    for *sources, _ in copies:
        for source in sources:
            assert (DEPLOY.parent / source).exists(), source


def test_its_variables_are_options() -> None:
    known = {f"SQUIRE_{option.name}".upper() for option in serve.params}
    set_here = {name for name in variables() if name.startswith("SQUIRE_")}
    assert set_here
    assert set_here <= known


def test_it_has_no_rights() -> None:
    assert step("USER").isdigit()
    assert int(step("USER")) > 0
    assert [name for name, _ in STEPS][-1] == "CMD"


def test_it_serves_is_healthy_and_ends_in_order(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    # What is on this machine only needs no keys. The ports may be somebody else's here.
    own = {"SQUIRE_HOST": "127.0.0.1", "SQUIRE_PORT": "0", "SQUIRE_ADMIN_PORT": port}
    there = {name: one.replace("/data", str(tmp_path)) for name, one in variables().items()}
    environment = {**os.environ, **there, **own, "PATH": os.environ["PATH"]}
    program = [sys.executable, "-m", "squire_gatherings"]
    assert json.loads(step("ENTRYPOINT")) == ["squire-gatherings"]
    command = [*program, *json.loads(step("CMD"))]
    _, _, check = step("HEALTHCHECK").partition(" CMD ")
    _, *arguments = json.loads(check.replace(":8766/", f":{port}/"))
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(READY)
            assert process.stdout.readline().rstrip().endswith(f"token in {tmp_path}/admin-token")
            assert run(sys.executable, *arguments).returncode == 0
            process.send_signal(signal.Signals[step("STOPSIGNAL")])
            assert process.wait(timeout=PATIENCE) == 0
        finally:
            process.kill()
    assert run(sys.executable, *arguments).returncode == 1
    # All that it has written is where it may write.
    assert {one.name for one in tmp_path.iterdir()} >= {"rooms.sqlite3", "admin-token"}


def test_it_does_not_let_everybody_in_without_keys(tmp_path: Path) -> None:
    """As it is run without options, it says what it needs."""
    there = {name: one.replace("/data", str(tmp_path)) for name, one in variables().items()}
    environment = {**os.environ, **there, "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-m", "squire_gatherings", *json.loads(step("CMD"))],
        capture_output=True,
        text=True,
        env=environment,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 2
    assert "use --auth jwt, or --insecure" in done.stderr
