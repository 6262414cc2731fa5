"""`serve --admin-port` as a real process: where the port is, its token, reloads, and the end."""

import json
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import squire_gatherings
from tests.cli.process import PATIENCE
from tests.cli.test_auth import NOWHERE, Says, says
from tests.forked import run, serving

__all__ = ["says"]

SAID = "squire_gatherings admin port on "


def ask(url: str, token: str | None = None) -> tuple[int, bytes]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_a_life_of_the_port(tmp_path: Path) -> None:
    file = tmp_path / "token"
    options = ("--store", "memory:", "--admin-port", "0", "--admin-token-file", str(file))
    with serving(*options, "--log-level", "debug") as (process, _):
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(SAID)
        assert line.endswith(f", token in {file}\n")
        url = line.removeprefix(SAID).partition(",")[0]
        token = file.read_text().strip()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert ask(url + "/healthz")[0] == 200
        assert ask(url + "/metrics")[0] == 401
        status, text = ask(url + "/metrics", token)
        assert (status, b"squire_gatherings_opened_total 0.0" in text) == (200, True)
        status, text = ask(url + "/api/v1/hall", token)
        assert (status, json.loads(text)["store"]) == (200, "memory:")

        # A new token counts from the next SIGHUP on.
        file.write_text("n" * 40)
        assert ask(url + "/api/v1/hall", token)[0] == 200
        process.send_signal(signal.SIGHUP)
        while ask(url + "/api/v1/hall", "n" * 40)[0] != 200:
            pass
        assert ask(url + "/api/v1/hall", token)[0] == 401

        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
        assert token not in err
        assert "n" * 40 not in err
        assert "Traceback" not in err


def test_without_the_option_nothing_is_made_or_imported(tmp_path: Path) -> None:
    with serving("--store", f"sqlite:///{tmp_path}/rooms.sqlite3") as (process, _):
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=PATIENCE)
    assert out == ""
    assert not [one.name for one in tmp_path.iterdir() if "token" in one.name]
    code = "import sys, squire_gatherings._cli.cli as c; print({'starlette', 'hypercorn',"
    code += " 'prometheus_client'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_token_that_is_none_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("short")
    command = ["serve", "--port", "0", "--store", "memory:", "--admin-port", "0"]
    code, _, err = run(*command, "--admin-token-file", str(tmp_path / "token"))
    assert code == 2
    assert "has no token" in err.splitlines()[-1]
    assert "Traceback" not in err
    command += ["--admin-token-file", str(tmp_path / "other"), "--admin-host", "192.0.2.1"]
    code, _, err = run(*command, SQUIRE_LOG_LEVEL="error")
    assert code == 2
    [line] = err.splitlines()
    assert "can't listen on 192.0.2.1 port 0 for operators" in line


def test_a_missing_extra_is_named(says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("squire_gatherings._admin")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "squire_gatherings.admin", raising=False)
    # An import makes a module an attribute of its package, which stays.
    for name in ("_admin", "admin"):
        monkeypatch.delattr(squire_gatherings, name, raising=False)
    monkeypatch.setitem(sys.modules, "hypercorn.trio", None)
    monkeypatch.setitem(sys.modules, "hypercorn", None)
    code, out, err = says("serve", *NOWHERE, "--admin-port", "0")
    assert (code, out) == (2, "")
    assert err == (
        "squire_gatherings: error: --admin-port needs hypercorn:"
        " pip install 'squire-gatherings[admin]'\n"
    )
