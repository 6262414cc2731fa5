"""`serve --webhook`: its options, its secret, and what a server says of it."""

import signal
import time
from base64 import b64encode
from pathlib import Path

import pytest

from squire_gatherings._cli.webhook import make_webhook, read_secrets
from squire_gatherings._values.errors import BadSetting
from tests.cli.process import PATIENCE, run_here
from tests.edges.wire import Wire
from tests.events.telling import check
from tests.forked import serving
from tests.webhook.receiver import SECRET, is_signed, receiving

OTHER = "whsec_" + b64encode(b"another secret, 32 bytes of it..").decode()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    return a_file(tmp_path / "secret", SECRET)


def a_file(path: Path, *secrets: str) -> Path:
    path.touch(0o600)
    path.write_text("\n".join([*secrets, ""]))
    return path


def visit(url: str, gathering: str) -> None:
    with Wire(url) as wire:
        wire.join(gathering)
        wire.say(type="leave")
        wire.until_the_end()


def test_a_server_posts_events_and_reads_its_secret_again(tmp_path: Path, secret: Path) -> None:
    options = ["--store", "memory:", "--log-level", "info", "--webhook-secret-file", str(secret)]
    with receiving() as receiver, serving(*options, "--webhook", receiver.url) as (process, url):
        visit(url, "a")
        receiver.wait_for(3)
        receiver.secrets = [SECRET, OTHER]
        a_file(secret, OTHER)
        process.send_signal(signal.SIGHUP)
        while not is_signed(receiver.headers, receiver.messages[-1][1], OTHER):
            before = len(receiver.taken)
            visit(url, f"g{before}")
            receiver.wait_for(before + 1)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
        check(receiver.taken, all_ended=True)
    assert "lifecycle events are posted" in said
    for word in (SECRET, OTHER, "hook?x"):
        assert word not in said


def test_events_wait_for_the_next_start(tmp_path: Path, secret: Path) -> None:
    options = ["--store", f"sqlite:///{tmp_path}/rooms.sqlite3"]
    options += ["--webhook-secret-file", str(secret), "--log-level", "warning"]
    nobody = "http://127.0.0.1:9/hook?x=1"
    with serving(*options, "--webhook", nobody) as (process, url):
        visit(url, "a")
        visit(url, "b")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE)
        # Nobody waits for a receiver that isn't there.
        assert time.monotonic() - began < 4
    assert said.count("events can't be delivered") == 1
    assert 'event="events wait for the next start to be delivered"' in said
    assert "waiting=8" in said
    assert "hook" not in said
    with receiving() as receiver, serving(*options, "--webhook", receiver.url):
        receiver.wait_for(8)
        check(receiver.taken, all_ended=True)


def test_wrong_options_are_told_in_one_line(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(*options: str) -> tuple[int, str]:
        code, _, err = run_here("serve", "--check-config", *options)
        return code, err

    given = ["--webhook-secret-file", str(secret), "--store", "memory:"]
    code, said = serve(*given, "--webhook", "http://alice:pass@host/")
    assert (code, said.count("\n")) == (2, 1)
    assert "no user and no password" in said
    assert "pass@" not in said
    code, said = serve(*given)
    assert code == 2
    assert "--webhook and --webhook-secret-file go together" in said
    monkeypatch.setenv("SQUIRE_WEBHOOK", "https://host/hook")
    assert serve(*given) == (0, "")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file"),
        ("", "has 1 to 8 secrets"),
        ("secret", "whsec_"),
        (f"{SECRET}\nwhsec_short", "whsec_"),
        ("x" * 5000, "at most 4096 bytes"),
    ],
)
def test_a_file_that_has_no_secret_is_named(tmp_path: Path, content: str | None, why: str) -> None:
    path = tmp_path / "secret"
    if content is not None:
        a_file(path, content)
    with pytest.raises(BadSetting, match=why) as raised:
        read_secrets(str(path))
    assert str(path) in str(raised.value)
    assert "short" not in str(raised.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(BadSetting):
        read_secrets(str(tmp_path))


def test_a_secret_that_others_may_read_is_a_warning(
    secret: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret.chmod(0o644)
    assert read_secrets(str(secret)) == [SECRET]
    [said] = caplog.records
    assert "chmod 600" in said.__dict__["why"]


def test_without_options_there_is_no_webhook() -> None:
    assert make_webhook(None, None) is None
