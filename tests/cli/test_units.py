"""Durations and sizes as people write them."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squire_gatherings._cli.units import (
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("24h", 86400),
        ("1d", 86400),
        ("90m", 5400),
        ("1h30m", 5400),
        ("2s", 2),
        ("1.5s", 1.5),
        ("500ms", 0.5),
        (" 0 ", 0),
        ("0s", 0),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "90", "1.5", "-1s", "s", "1 s", "1x", "1h30", "nan", "inf", "1e3s", "1.s", "٣s"]
)
def test_another_text_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration such as"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["9" * 400 + "s", "36501d", "99999999999999999999h"])
def test_a_duration_without_end_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="too long: at most 36500d"):
        parse_duration(text)
    assert parse_duration("36500d") == 36_500 * 86_400


@pytest.mark.parametrize("text", ["0.9ms", "0.0001s", "0.000000001d"])
def test_a_duration_that_is_hardly_one_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="too short: at least 1ms"):
        parse_duration(text)


def test_sizes_and_durations_are_written_for_people() -> None:
    sizes = [0, 1023, 1024, 65_536, 1_572_864, 3 << 30]
    shown = ["0 B", "1023 B", "1.0 KiB", "64.0 KiB", "1.5 MiB", "3.0 GiB"]
    assert [format_size(size) for size in sizes] == shown
    assert format_duration(math.inf) == "off"


@given(st.integers(min_value=0, max_value=10**12))
def test_a_formatted_duration_reads_back(milliseconds: int) -> None:
    assert round(parse_duration(format_duration(milliseconds / 1000)) * 1000) == milliseconds


@pytest.mark.parametrize(
    ("seconds", "text"), [(86400, "24h"), (5400, "1h30m"), (1.5, "1s500ms"), (0, "0")]
)
def test_a_duration_is_formatted(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.text())
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_duration(text) >= 0


@pytest.mark.parametrize(
    ("text", "size"),
    [("65536", 65536), ("10B", 10), ("64KiB", 65536), ("1MiB", 1 << 20), ("2GiB", 2 << 30)],
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "٣", "64KB", "1.5MiB", "KiB", "1e3"])
def test_another_text_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size such as"):
        parse_size(text)
