"""The page for operators: its commands do what it says, and each alert is explained."""

import json
import re
import shlex
import signal
import subprocess
from pathlib import Path

from tests.cli.process import PATIENCE
from tests.cli.test_auth import Says, says
from tests.deploy.test_monitoring import ALERTS
from tests.deploy.tools import DEPLOY, found
from tests.forked import serving

__all__ = ["says"]

PAGE = (DEPLOY.parent / "docs" / "operating.md").read_text()
BLOCKS = re.findall(r"<!-- tested(: stopped)? -->\n```sh\n(.*?)```", PAGE, re.DOTALL)


def test_each_alert_is_explained() -> None:
    explained = PAGE.partition("\n## Alerts\n")[2]
    assert re.findall(r"^### (\w+)$", explained, re.MULTILINE) == ALERTS


def test_what_is_deployed_is_named() -> None:
    for folder in DEPLOY.iterdir():
        assert f"[`{folder.name}/`](../deploy/{folder.name})" in PAGE


class Machine:
    """A machine as the page has it, in a folder."""

    def __init__(self, folder: Path, says: Says) -> None:
        self.folder = folder
        self.port = 0
        self._says = says
        self.store = folder / "var/lib/squire-gatherings/rooms.sqlite3"
        self.token = folder / "etc/squire-gatherings/admin-token"
        for one in ("backups", "var/lib/squire-gatherings", "etc/squire-gatherings"):
            (folder / one).mkdir(parents=True)

    def run(self, commands: str) -> str:
        """Run commands as they are written, and return what they print.

        Ours are run in this process: a process for each takes longer than all that they do.
        """
        commands = commands.replace(":8766", f":{self.port}")
        for one in ("/var/lib", "/backups", "/etc"):
            commands = commands.replace(f"{one}/", f"{self.folder}{one}/")
        return "".join(map(self._run_one, commands.splitlines()))

    def _run_one(self, command: str) -> str:
        program, *arguments = shlex.split(command)
        if program == "squire-gatherings":
            code, out, errors = self._says(*arguments)
        else:
            done = subprocess.run(
                ["sh", "-euc", command],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            code, out, errors = done.returncode, done.stdout, done.stderr
        assert (code, errors) == (0, ""), (command, out, errors)
        return out


def test_its_commands_do_what_it_says(tmp_path: Path, says: Says) -> None:
    found("curl")
    machine = Machine(tmp_path, says)
    options = ["--store", f"sqlite:///{machine.store}", "--admin-port", "0"]
    options += ["--admin-token-file", str(machine.token)]
    with serving(*options) as (process, url):
        assert process.stdout is not None
        said = process.stdout.readline()
        machine.port = int(re.findall(r":(\d+), token in", said)[0])
        submit = f"squire-gatherings submit {url}"
        machine.run(f"{submit} friday-night '{{\"a\": 1}}'\n{submit} old-1 '{{\"a\": 1}}'")
        outputs = [machine.run(block) for stopped, block in BLOCKS if not stopped]
        # The copy doesn't know of this.
        machine.run(f"{submit} friday-night '{{\"a\": 2}}'")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=PATIENCE) == 0
    assert (tmp_path / "backups" / "rooms.sqlite3").exists()
    health = next(one for one in outputs if "ready" in one)
    assert '"status":"ok"' in health
    assert '"ready":true' in health
    listed = machine.run("squire-gatherings list /var/lib/squire-gatherings/rooms.sqlite3 --json")
    logs = {one["gathering"]: one for one in map(json.loads, listed.splitlines())}
    assert logs["friday-copy"]["seq"] == 1
    assert "deleted" in json.dumps(logs["old-1"])

    [restore] = [block for stopped, block in BLOCKS if stopped]
    machine.run(restore)
    listed = machine.run("squire-gatherings list /var/lib/squire-gatherings/rooms.sqlite3")
    assert "friday-copy" not in listed
    with serving(*options) as (_, url):
        # The next op after what the copy has.
        assert machine.run(f"squire-gatherings submit {url} friday-night '{{}}'") == "2\n"
