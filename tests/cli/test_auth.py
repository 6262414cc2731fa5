"""`serve --auth` and `token`, as real processes: from making a key to changing it."""

import base64
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from squire_gatherings._auth.claims import NOT_COVERED
from squire_gatherings._cli.cli import main
from tests.auth.forge import jwk, key_file, private_pem, public_pem
from tests.cli.process import PATIENCE, run_here
from tests.forked import Forked, serving
from tests.server.raw import RawClient

MEMORY = ("--store", "memory:")


Says = Callable[..., tuple[object, str, str]]


@pytest.fixture
def says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Says:
    """Run the command line in this process; for commands that fail at once."""
    monkeypatch.chdir(tmp_path)

    def run_here(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["squire-gatherings", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return run_here


NOWHERE = ("--port", "0", "--store", "nowhere:")
"""A store that doesn't exist: a server that does begin ends here."""


def minted(folder: Path, *options: str) -> str:
    code, out, err = run_here("token", *options, cwd=folder)
    assert (code, err) == (0, "")
    assert out.endswith("\n")
    assert out.count(".") == 2
    return out.strip()


def answer(url: str, token: str | None = None, gathering_id: str = "room") -> str:
    """Join; return who the client is, or why it was refused."""
    with RawClient(f"{url}/gatherings/{gathering_id}") as client:
        client.say(type="join", **({} if token is None else {"token": token}))
        told = client.hear()
        return str(told["message"] if told["type"] == "error" else (told["user"], told["role"]))


def test_from_a_new_key_to_a_token_that_lets_in(tmp_path: Path) -> None:
    code, out, err = run_here("token", "--new-key", "squire.key", cwd=tmp_path)
    assert (code, out, err) == (0, "", "")
    assert stat.S_IMODE((tmp_path / "squire.key").stat().st_mode) == 0o600
    assert b"PRIVATE" not in (tmp_path / "squire.key.pub").read_bytes()
    options = ["--key", "squire.key", "--user", "alice", "--gathering", "club-*"]
    token = minted(tmp_path, *options, "--gathering", "room")
    observer = minted(tmp_path, *options, "--role", "observer")
    ours = minted(tmp_path, *options, "--audience", "rooms", "--issuer", "me")
    auth = ["--auth", "jwt", "--jwt-key", str(tmp_path / "squire.key.pub")]
    with serving(*MEMORY, *auth, "--log-level", "debug") as (process, url):
        assert answer(url, token) == "('alice', 'member')"
        assert answer(url, observer, "club-7") == "('alice', 'observer')"
        assert answer(url, observer) == NOT_COVERED
        assert answer(url) == "a token is needed"
        assert answer(url, token[:-4] + "AAAA") == "the token isn't valid"
        assert answer(url, ours, "club-7") == "the token is for somebody else (aud)"
        with pytest.raises(AssertionError, match="status_code=400"):
            RawClient(f"{url}/gatherings/room?token={token}")
        process.terminate()
        out, err = process.communicate(timeout=PATIENCE)
    assert out == ""
    assert "auth=jwt keys=1" in err
    # The log has no token, and no part of one.
    for secret in (token, observer, ours):
        for part in secret.split(".")[1:]:
            assert part not in err
    named = ["--jwt-audience", "rooms", "--jwt-issuer", "me"]
    with serving(*MEMORY, *auth, *named) as (_, url):
        assert answer(url, ours, "club-7") == "('alice', 'member')"
        assert answer(url, token) == "the token is for somebody else (aud)"


@pytest.mark.parametrize(
    ("valid", "seconds"), [((), 3600), (("--valid", "1ms"), 1), (("--valid", "90m"), 5400)]
)
def test_how_long_a_token_is_good(
    valid: tuple[str, ...], seconds: int, tmp_path: Path, says: Says
) -> None:
    key_file(tmp_path, "HS256")
    code, out, err = says(
        "token", "--key", "HS256-0", "--user", "alice", "--gathering", "*", *valid
    )
    assert (code, err) == (0, "")
    payload = out.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims.pop("exp") - claims.pop("iat") == seconds
    assert claims == {"sub": "alice", "role": "member", "gatherings": ["*"]}


def test_a_key_is_made_once(tmp_path: Path) -> None:
    options = ["--new-key", "k", "--user", "alice", "--gathering", "*"]
    minted(tmp_path, *options)
    before = (tmp_path / "k").read_bytes()
    assert run_here("token", *options, cwd=tmp_path) == (
        2,
        "",
        "squire_gatherings: error: k: File exists\n",
    )
    assert (tmp_path / "k").read_bytes() == before


@pytest.mark.parametrize("kind", ["HS256", "ES256", "RS256"])
def test_tokens_of_other_keys(kind: str, tmp_path: Path) -> None:
    file = key_file(tmp_path, "HS256")
    if kind != "HS256":
        file.write_bytes(private_pem(kind))
    token = minted(tmp_path, "--key", str(file), "--user", "zo\u00eb", "--gathering", "*")
    with serving(*MEMORY, "--auth", "jwt", "--jwt-key", str(file)) as (_, url):
        assert answer(url, token) == "('zo\u00eb', 'member')"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "give either --key FILE or --new-key FILE"),
        (["--key", "a", "--new-key", "b"], "give either --key FILE or --new-key FILE"),
        (["--key", "public"], "a token needs a --user"),
        (["--key", "public", "--user", "a"], "a token needs a --gathering"),
        (["--key", "none", "--user", "a", "--gathering", "*"], "none: No such file"),
        (["--key", "public", "--user", "a", "--gathering", "*"], "public: is no private PEM key"),
        (["--key", "jwks", "--user", "a", "--gathering", "*"], "jwks: is no private PEM key"),
        (["--key", "public", "--user", "a", "--gathering", "r?m"], "the token's gatherings"),
        (["--key", "public", "--user", "x" * 2000, "--gathering", "*"], "a user's name has 1 to"),
        (["--key", "public", "--user", "", "--gathering", "*"], "the token's sub isn't"),
        (["--key", "secret", "--user", "a", *["--gathering", "x" * 128] * 64], "over 4096"),
        (["--key", "public", "--user", "a", "--gathering", "*", "--valid", "0"], "above 0"),
        (
            ["--key", "public", "--user", "a", "--gathering", "*", "--valid", "90"],
            "is not a duration",
        ),
        (["--new-key", "missing/key"], "missing/key: No such file"),
    ],
)
def test_what_is_wrong_with_a_token_is_one_line(
    options: list[str], complaint: str, tmp_path: Path, says: Says
) -> None:
    (tmp_path / "public").write_bytes(public_pem("EdDSA"))
    (tmp_path / "jwks").write_text(json.dumps({"keys": [jwk("EdDSA")]}))
    (tmp_path / "secret").write_text("hunter2" * 6)
    code, out, err = says("token", *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert complaint in err
    assert "hunter2" not in err


# Which clients may join.


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "rooms.example", "a.localhost"])
def test_with_no_auth_only_this_machine_is_let_in(host: str, says: Says) -> None:
    code, out, err = says("serve", *NOWHERE, "--host", host)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "--insecure" in err
    assert "--auth jwt" in err


def test_an_insecure_server_starts_and_warns() -> None:
    with serving(*MEMORY, "--host", "0.0.0.0", "--insecure") as (process, url):
        assert answer(url.replace("0.0.0.0", "127.0.0.1")) == "(None, 'member')"
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE)
    [line] = err.splitlines()
    assert "level=warning" in line
    assert "anybody who reaches this server may read and write every gathering" in line
    assert "host=0.0.0.0" in line


def test_help_says_it_loudly(tmp_path: Path) -> None:
    _, out, _ = run_here("serve", "--help", cwd=tmp_path)
    assert "ANYBODY WHO REACHES THE SERVER MAY READ AND WRITE EVERYTHING" in " ".join(out.split())


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--auth", "basic"], "'basic' is not one of"),
        (["--auth", "jwt"], "--auth jwt needs a --jwt-key"),
        (["--auth", "jwt", "--insecure", "--jwt-key", "key"], "--insecure goes with --auth none"),
        (["--jwt-key", "key"], "--jwt-key goes with --auth jwt"),
        (["--jwt-audience", "a"], "--jwt-audience goes with --auth jwt"),
        (["--jwt-issuer", "a"], "--jwt-issuer goes with --auth jwt"),
        (["--token-cookie", "a"], "--token-cookie goes with --auth jwt"),
        (["--auth", "jwt", "--jwt-key", "missing"], "missing: No such file"),
        (["--auth", "jwt", "--jwt-key", "key", "--jwt-key", "short"], "short: a secret has 32"),
        (["--auth", "jwt", "--jwt-key", "key", "--token-cookie", "a b"], "name of a cookie"),
        (
            ["--auth", "jwt", "--jwt-key", "key", "--token-cookie", "a", "--allow-origin", "*"],
            "would let any web page act",
        ),
        (["--allow-origin", "example.com"], "an origin is SCHEME://HOST"),
    ],
)
def test_what_is_wrong_with_the_options_is_one_line(
    options: list[str], complaint: str, tmp_path: Path, says: Says
) -> None:
    (tmp_path / "key").write_bytes(public_pem("EdDSA"))
    (tmp_path / "short").write_text("hunter2")
    code, out, err = says("serve", *NOWHERE, *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert complaint in err
    assert "hunter2" not in err


@pytest.mark.parametrize("command", ["serve", "token"])
def test_without_the_extra_an_error_is_one_line(command: str, tmp_path: Path) -> None:
    arguments = {
        "serve": ["serve", "--auth", "jwt", "--jwt-key", "key"],
        "token": ["token", "--key", "key", "--user", "a", "--gathering", "*"],
    }[command]
    code = (
        "import sys; sys.modules['joserfc'] = None\n"
        "from squire_gatherings._cli.cli import main\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "pip install 'squire-gatherings[jwt]'" in done.stderr


def test_the_environment_names_several(tmp_path: Path) -> None:
    files = [key_file(tmp_path), key_file(tmp_path, "ES256")]
    code = (
        "import os, sys; os.environ['SQUIRE_JWT_KEY'] = os.pathsep.join(sys.argv[1:3]);"
        "os.environ['SQUIRE_ALLOW_ORIGIN'] = 'https://a.example https://b.example';"
        "os.environ['SQUIRE_AUTH'] = 'jwt';"
        "os.execv(sys.executable, [sys.executable, '-m', 'squire_gatherings', *sys.argv[3:]])"
    )
    arguments = ["serve", "--port", "0", *MEMORY, "--log-level", "info"]
    command = [sys.executable, "-c", code, *map(str, files), *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            room = f"{url}/gatherings/room"
            RawClient(room, headers=[("Origin", "https://b.example")]).socket.close()
            with pytest.raises(AssertionError, match="status_code=403"):
                RawClient(room, headers=[("Origin", "https://c.example")])
            process.terminate()
            _, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert "auth=jwt keys=2" in err


# SIGHUP.


def wait_for_line(process: Forked, event: str) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if event in line:
            return line
    raise AssertionError(event)


def test_keys_are_read_again_while_clients_stay(tmp_path: Path) -> None:
    for name in ("old", "new"):
        assert run_here("token", "--new-key", name, cwd=tmp_path)[0] == 0
    old, new = (
        minted(tmp_path, "--key", name, "--user", name, "--gathering", "*")
        for name in ("old", "new")
    )
    keys = tmp_path / "keys"
    keys.write_bytes((tmp_path / "old.pub").read_bytes())
    options = ["--auth", "jwt", "--jwt-key", str(keys), "--log-level", "info"]
    with serving(*MEMORY, *options) as (process, url), RawClient(f"{url}/gatherings/a") as client:
        client.say(type="join", token=old)
        assert client.hear()["user"] == "old"
        # The file is broken: the old keys stay.
        keys.write_text("hunter2")
        process.send_signal(signal.SIGHUP)
        line = wait_for_line(process, "can't reload")
        assert "level=error" in line
        assert f"{keys}: a secret has 32" in line
        assert "hunter2" not in line
        assert answer(url, old) == "('old', 'member')"
        assert answer(url, new) == "the token isn't valid"
        # Nobody writes to this pipe; the reload doesn't wait for it.
        keys.unlink()
        os.mkfifo(keys)
        process.send_signal(signal.SIGHUP)
        assert "is not a file" in wait_for_line(process, "can't reload")
        keys.unlink()
        keys.write_bytes((tmp_path / "new.pub").read_bytes())
        process.send_signal(signal.SIGHUP)
        assert "level=info" in wait_for_line(process, "event=reloaded")
        assert answer(url, old) == "the token isn't valid"
        assert answer(url, new) == "('new', 'member')"
        client.say(type="sync", id="1", base=0, ops=[{"a": 1}])
        assert client.hear()["seqs"] == [1]
        process.terminate()
        assert client.hear()["reason"] == "shutdown"
        client.end()
        assert process.wait(timeout=PATIENCE) == 0
