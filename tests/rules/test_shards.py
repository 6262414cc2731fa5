"""Which shard has a gathering: files are laid out by this, so it never changes."""

from collections import Counter
from hashlib import blake2b

from hypothesis import given, settings
from hypothesis import strategies as st

from squire_gatherings._rules.shards import shard_of
from tests.support import examples

IDS = st.from_regex(r"[A-Za-z0-9._~-]{1,128}", fullmatch=True)


def test_files_of_today_are_found_by_versions_to_come() -> None:
    found = [shard_of(f"room-{number}", 4) for number in range(16)]
    assert found == [3, 1, 2, 2, 3, 0, 2, 1, 1, 0, 2, 2, 1, 0, 2, 1]


@given(IDS, st.integers(1, 40))
@settings(max_examples=examples(50))
def test_the_heaviest_has_it_and_one_more_shard_takes_and_moves_nothing_else(
    gathering: str, shards: int
) -> None:
    before, after = shard_of(gathering, shards), shard_of(gathering, shards + 1)
    assert after in (before, shards)
    weights = [
        int.from_bytes(blake2b(f"{one}/{gathering}".encode(), digest_size=8).digest(), "big")
        for one in range(shards)
    ]
    assert weights[before] == max(weights)


def test_shards_have_about_as_many() -> None:
    counts = Counter(shard_of(f"tournament-{number}", 8) for number in range(8000))
    assert len(counts) == 8
    assert 850 < min(counts.values()) <= max(counts.values()) < 1150
