"""Private sockets: in a folder of the user alone, wherever temporary files are."""

import os
import socket
import tempfile
from pathlib import Path

import pytest
import trio

from squire_gatherings import BadSetting
from squire_gatherings._cluster import private
from squire_gatherings._cluster.private import (
    NotOurs,
    connect_privately,
    listen_privately,
    private_folder,
)


async def test_whoever_listens_there_is_reached_and_a_dead_ones_socket_is_no_hindrance() -> None:
    with private_folder() as folder:
        assert os.stat(folder).st_mode & 0o777 == 0o700
        path = f"{folder}/one"
        with pytest.raises(OSError, match="No such file"):
            await connect_privately(path)
        listen_privately(path).close()
        with pytest.raises(OSError, match="refused"):
            await connect_privately(path)
        with listen_privately(path), await connect_privately(path) as one:
            assert not one.getblocking()
    assert not await trio.Path(folder).exists()


async def test_another_users_process_is_not_spoken_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with private_folder() as folder, listen_privately(f"{folder}/one"):
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        with pytest.raises(NotOurs):
            await connect_privately(f"{folder}/one")


def test_a_long_temporary_folder_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * private.MOST_FOLDER)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with private_folder() as folder, listen_privately(f"{folder}/worker-255"):
        assert not folder.startswith(str(long))


def test_what_cannot_be_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadSetting, match=r"can't listen at .* AF_UNIX path too long"):
        listen_privately(f"{tmp_path}/{'x' * 200}")
    monkeypatch.setattr(tempfile, "tempdir", "/proc/none")
    with pytest.raises(BadSetting, match="no folder can be made"), private_folder():
        pass


def test_only_the_other_end_counts() -> None:
    one, other = socket.socketpair()
    with one, other:
        private.check_user(one)
