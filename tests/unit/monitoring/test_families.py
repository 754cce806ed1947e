"""Metrics are named as Prometheus wants it, the documentation has them all, and the examples name no others."""

import json
import re
from typing import Any

import pytest

from allora_mqtt.monitoring.families import FAMILIES, PREFIX, Family
from tests.conftest import ROOT
from tests.support.prometheus import expressions, metrics_in, rules

GRAFANA = ROOT / "examples" / "grafana" / "allora-mqtt.json"
DASHBOARD: dict[str, Any] = json.loads(GRAFANA.read_text())
ALERTS = rules(ROOT / "examples" / "prometheus" / "alerts.yml")
DOCS = (ROOT / "docs" / "observe.md").read_text()
BY_CLIENT = {"up", "process_start_time_seconds", "process_resident_memory_bytes", "process_cpu_seconds_total"} | {
    "process_open_fds"
}


def exposed(family: Family) -> set[str]:
    name = PREFIX + family.name
    return {f"{name}_{part}" for part in ("bucket", "count", "sum")} if family.kind == "histogram" else {name}


EXPOSED = BY_CLIENT.union(*map(exposed, FAMILIES))


def row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    return f"| `{PREFIX}{family.name}` | {family.kind} | {labels} | {family.help} |"


def test_the_documentation_has_each_metric_and_no_other() -> None:
    written = re.findall(r"^\| `allora_mqtt_.*$", DOCS, re.MULTILINE)
    assert written == [row(family) for family in FAMILIES]


@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_a_name_follows_the_conventions(family: Family) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", family.name)
    assert family.name.endswith("_total") is (family.kind == "counter")
    assert not re.search(r"_(ms|millis|pct|percent|count|kb|mb)(_|$)", family.name), "base units only"
    assert family.kind != "histogram" or family.name.endswith("_seconds")
    assert family.help.endswith(".")
    assert not {"le", "quantile", "job", "instance"} & set(family.labels), "these are Prometheus's own"


def test_names_are_there_once() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_each_alert_reads_metrics_that_there_are() -> None:
    for alert, expression in ALERTS.items():
        assert metrics_in(expression), alert
        assert metrics_in(expression) <= EXPOSED, alert


def test_each_alert_is_explained() -> None:
    for alert in ALERTS:
        assert f"`{alert}`" in DOCS, alert


def test_each_panel_reads_metrics_that_there_are() -> None:
    for title, expression in expressions(DASHBOARD):
        assert metrics_in(expression), title
        assert metrics_in(expression) <= EXPOSED, title


def test_the_dashboard_can_be_imported() -> None:
    assert DASHBOARD["uid"]
    assert DASHBOARD["schemaVersion"] >= 36
    assert "id" not in DASHBOARD, "an id would overwrite a dashboard of the one who imports it"
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    used = set(re.findall(r"\$\{?(\w+)\}?", json.dumps(DASHBOARD["panels"])))
    assert used - {"__rate_interval"} <= variables.keys()


def test_no_panel_is_bound_to_one_prometheus() -> None:
    sources = [
        thing["datasource"]
        for panel in DASHBOARD["panels"]
        if panel["type"] != "row"
        for thing in (panel, *panel["targets"])
    ]
    assert sources
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)


def test_panels_lie_beside_one_another_and_not_on_top() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert 0 <= place["x"] <= place["x"] + place["w"] <= 24, panel["title"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
