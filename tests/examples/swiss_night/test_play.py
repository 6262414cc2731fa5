"""A night that a script plays, through real sockets."""

from pathlib import Path

from click.testing import CliRunner

from examples.swiss_night.__main__ import main
from examples.swiss_night.door import Door
from examples.swiss_night.play import Plan, play_here, report


async def test_a_night_is_played_and_all_copies_agree(tmp_path: Path) -> None:
    door = Door(tmp_path / "key", "code", ["friday-night"])
    plan = Plan(players=20, rounds=4, watching=8, lies=0.08, forgets=0.05, drops=0.05, cuts=0.2)
    played = await play_here(plan, door, "friday-night")
    assert played.replicas == 9
    assert len(played.standings) == 20
    assert len(played.night.rounds[0].matches) == 10
    assert played.night.finished == played.seq
    assert played.night.open_matches == []
    # What the seed brings, whatever comes first.
    tally = played.tally
    assert (tally.disputes, tally.undone) == (7, 1)
    assert tally.cuts == 13
    assert sum(place.dropped for place in played.standings) == 3
    assert [place.name for place in played.standings[:3]] == [
        "player 018",
        "player 017",
        "player 009",
    ]
    assert "all 9 copies of the tournament agree" in report(played)


def test_the_command_line_says_what_is_wrong() -> None:
    for arguments, said in [
        (["serve", "--idle", "soon"], "a duration is a number and ms, s, m or h"),
        (["serve", "--idle", "0s"], "longer than nothing"),
        (["play", "--players", "3"], "3 is not in the range"),
    ]:
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2
        assert said in result.output
