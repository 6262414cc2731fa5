"""Alert rules and dashboard: they name what the server tells, and Prometheus understands them."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from squire_gatherings._rules.refusals import Limit
from squire_gatherings._values.endings import BROKEN_OFF, CloseCode, DispersalReason
from squire_gatherings._values.numbers import Stage
from squire_gatherings.testing import SharedMemory
from tests.admin.port import open_port
from tests.deploy.tools import DEPLOY, found, run

RULES = DEPLOY / "prometheus"
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
ALERTS = re.findall(r"- alert: (\w+)", (RULES / "alerts.yml").read_text())

SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}

VALUES: dict[str, set[str]] = {
    "limit": {str(limit) for limit in Limit},
    "rule": {str(reason) for reason in DispersalReason},
    "code": {str(int(code)) for code in CloseCode} | {str(BROKEN_OFF)},
    "stage": {str(stage) for stage in Stage},
    "outcome": {"joined"},
    "way": {"here", "passed_on", "relayed", "redirected", "turned_away"},
}
"""The labels that expressions choose by, and what they may be."""


def expressions(part: Any) -> Iterator[str]:
    """Yield the expressions of a dashboard."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key in ("expr", "query") and isinstance(value, str):
                yield value
            else:
                yield from expressions(value)
    elif isinstance(part, list):
        for one in part:
            yield from expressions(one)


def sources() -> dict[str, str]:
    tests = (RULES / "alerts_test.yml").read_text()
    return {
        "alerts": (RULES / "alerts.yml").read_text(),
        "tests": tests,
        "dashboard": "\n".join(expressions(DASHBOARD)),
    }


async def test_all_metrics_that_are_named_are_told(tmp_path: Path) -> None:
    async def take(event: object) -> None:
        await trio.lowlevel.checkpoint()

    # One of several nodes tells all that there is to be told.
    store = SharedMemory().store()
    async with open_port(tmp_path, store=store, on_event=take) as port:
        answer = await port.client.get("/metrics")
    told = {
        family.name + suffix
        for family in text_string_to_metric_families(answer.text)
        for suffix in SUFFIXES[family.type]
    }
    for place, text in sources().items():
        # Texts in quotes are labels' values.
        named = set(re.findall(r"\b(?:squire|process)_\w+", re.sub(r'"[^"\n]*"', "", text)))
        named -= {"squire_gatherings"} if place == "alerts" else set()
        assert len(named) > 10, place
        assert named <= told, place
    # A metric that nobody looks at would be one too many; those that are only there by the name
    # that all programs have are others'.
    shown = sources()["dashboard"]
    ours = {re.sub("_(bucket|count|sum)$", "", name) for name in told if name.startswith("squire")}
    assert {name for name in ours if name not in shown} <= {
        "squire_gathering_lifetime_seconds",
        "squire_restored_ops",
    }


@pytest.mark.parametrize("place", ["alerts", "tests", "dashboard"])
def test_labels_have_values_that_there_are(place: str) -> None:
    text = re.sub(r"=~\s+", "=~", sources()[place])
    pairs = re.findall(r'\b(\w+)(=~|!=|=)"([^"]*)"', text)
    checked = 0
    for label, operator, value in pairs:
        if label not in VALUES:
            assert label in ("job", "instance", "le", "kind"), label
            continue
        if place == "tests" and label == "outcome":
            continue
        for one in value.split("|"):
            known = [name for name in VALUES[label] if re.fullmatch(one, name)]
            assert known, (label, operator, one)
            checked += 1
    assert checked


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert x < 24
                assert (x, y) not in taken, panel["title"]
                taken.add((x, y))
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_prometheus_understands_the_rules() -> None:
    done = run(found("promtool"), "check", "rules", "--lint-fatal", RULES / "alerts.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout


def test_prometheus_takes_the_configuration(tmp_path: Path) -> None:
    program, token = found("promtool"), tmp_path / "token"
    token.write_text("a")
    text = (RULES / "prometheus.yml").read_text()
    theirs = "/etc/prometheus/squire-gatherings.token"
    assert theirs in text
    (tmp_path / "prometheus.yml").write_text(text.replace(theirs, str(token)))
    shutil.copy(RULES / "alerts.yml", tmp_path)
    done = run(program, "check", "config", tmp_path / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_comes_when_it_should() -> None:
    done = run(found("promtool"), "test", "rules", "alerts_test.yml", cwd=RULES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_test_in_which_it_comes_and_one_in_which_it_does_not() -> None:
    quiet, *others = (RULES / "alerts_test.yml").read_text().split("  - name: ")[1:]
    for alert in ALERTS:
        assert f"alertname: {alert}, exp_alerts: []" in quiet, alert
        assert any(
            re.search(rf"alertname: {alert}\n\s+exp_alerts:\n", other) for other in others
        ), alert


def test_prometheus_understands_the_dashboard(tmp_path: Path) -> None:
    """Each expression as a rule of its own."""
    rules = []
    for number, one in enumerate(expressions(DASHBOARD)):
        if not one.startswith(("label_values", "prometheus")):
            whole = one.replace("$__rate_interval", "1m").replace("$instance", ".*")
            rules.append({"record": f"a:{number}", "expr": whole})
    assert len(rules) > 30
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "a", "rules": rules}]}))
    done = run(found("promtool"), "check", "rules", tmp_path / "rules.yml")
    assert done.returncode == 0, done.stdout + done.stderr
