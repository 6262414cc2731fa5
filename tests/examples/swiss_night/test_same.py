"""The page folds as the server does: random logs, played to both."""

import json
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from examples.swiss_night.site import PAGE
from examples.swiss_night.standings import standings
from squire_gatherings import OpRejected
from tests.examples.swiss_night.playing import Night
from tests.examples.swiss_night.test_rules import USERS, ops
from tests.support import examples

NODE = shutil.which("node")
SCRIPT = Path(__file__).with_name("same.mjs")


def play_at_random(data: st.DataObject) -> Night:
    """Do what is allowed of what people try."""
    night = Night()
    for who in data.draw(st.lists(st.sampled_from(sorted(USERS)), max_size=40)):
        night.passes(15)
        with suppress(OpRejected):
            night.do(who, USERS[who], data.draw(ops(night.state)))
    return night


def seen_by_the_page(nights: list[Night]) -> list[Any]:
    lines = [
        json.dumps(
            [
                [op.value, {"seq": stamp.seq, "time": stamp.time, "by": stamp.by}]
                for op, stamp in night.log
            ]
        )
        for night in nights
    ]
    assert NODE
    done = subprocess.run(
        [NODE, str(SCRIPT), str(PAGE)],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.skipif(NODE is None, reason="there is no node")
def test_the_page_folds_as_the_server_does() -> None:
    nights: list[Night] = []

    @settings(
        max_examples=examples(25),
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def collect(data: st.DataObject) -> None:
        nights.append(play_at_random(data))

    collect()
    whole = Night()
    whole.judge({"do": "plan", "title": "All", "rounds": 5, "minutes": 50})
    whole.enter(*(str(one) for one in (9, 1, 5, 3, 7, 2, 8)), "__proto__")
    games = [(2, 0), (2, 1), (1, 1), (1, 2), (0, 2), (0, 0, 3), (1, 1, 1)]
    for number in range(5):
        whole.start()
        for match in whole.night.rounds[-1].matches:
            if match.second:
                whole.rule(match.table, *games[(number * 3 + match.table) % len(games)])
    nights.append(whole)

    found = seen_by_the_page(nights)
    assert len(found) == len(nights)
    for night, page in zip(nights, found, strict=True):
        expected = msgspec.json.decode(msgspec.json.encode(night.behaviour.snapshot()))
        assert page["night"] == expected
        places = [attrs.asdict(place) for place in standings(night.night)]
        assert page["standings"] == json.loads(json.dumps(places))
