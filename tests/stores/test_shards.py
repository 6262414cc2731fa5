"""A folder of shards: how many there are is noted once, and never guessed."""

import json
import os
from pathlib import Path

import pytest

from squire_gatherings._stores.shards import NOTE, is_folder, prepare_folder, shard_url
from squire_gatherings._values.errors import BadSetting, StoreUnusable


def test_the_first_start_notes_how_many_there_are(tmp_path: Path) -> None:
    folder = tmp_path / "rooms"
    prepare_folder(folder, 3)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert json.loads((folder / NOTE).read_text()) == {
        "shards": 3,
        "hash": "rendezvous-blake2b-64",
    }
    assert os.listdir(folder) == [NOTE]
    prepare_folder(folder, 3)
    with pytest.raises(BadSetting, match=r"has 3 shards, .* start it with --workers 3, or move"):
        prepare_folder(folder, 4)


def test_of_two_first_starts_one_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def slower(source: Path, target: Path) -> None:
        target.write_text(json.dumps({"shards": 2, "hash": "rendezvous-blake2b-64"}))
        link(source, target)

    monkeypatch.setattr(os, "link", slower)
    with pytest.raises(BadSetting, match="has 2 shards"):
        prepare_folder(tmp_path, 4)
    assert os.listdir(tmp_path) == [NOTE]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", '{"shards": 3}', '{"shards": 3, "hash": "md5"}', "[" * 100_000]
    + [
        f'{{"shards": {count}, "hash": "rendezvous-blake2b-64"}}'
        for count in ("0", "true", '"3"', "257", "3.0")
    ],
)
def test_a_note_that_nobody_understands_is_no_note(tmp_path: Path, text: str) -> None:
    (tmp_path / NOTE).write_text(text)
    with pytest.raises(BadSetting, match="nothing that this version understands"):
        prepare_folder(tmp_path, 3)


def test_shards_whose_note_is_lost_are_not_served(tmp_path: Path) -> None:
    (tmp_path / "shard-1.sqlite3").touch()
    with pytest.raises(BadSetting, match=r"has shards and no shards\.json"):
        prepare_folder(tmp_path, 3)
    assert not (tmp_path / NOTE).exists()


def test_what_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnusable, match="file: "):
        prepare_folder(tmp_path / "file", 3)
    with pytest.raises(StoreUnusable, match="No such file"):
        prepare_folder(tmp_path / "none" / "rooms", 3)


def test_a_folder_is_told_from_a_file_by_its_slash() -> None:
    assert is_folder("sqlite:////var/lib/rooms/")
    assert not is_folder("sqlite:////var/lib/rooms")
    assert not is_folder("memory:")
    assert shard_url("sqlite:///rooms/", 2) == "sqlite:///rooms/shard-2.sqlite3"
