"""The real Prometheus scrapes a bot; the shipped rules and each panel of the dashboard find what they ask for."""

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from allora_mqtt.monitoring.families import FAMILIES, PREFIX
from tests.conftest import ROOT
from tests.support.client import Watcher
from tests.support.net import free_port, until
from tests.support.program import CHECKOUT, Bot
from tests.support.prometheus import PROMETHEUS, PROMTOOL, Prometheus, expressions, metrics_in, rules

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("prometheus")]

EXAMPLES = ROOT / "examples"
DASHBOARD: dict[str, Any] = json.loads((EXAMPLES / "grafana" / "allora-mqtt.json").read_text())
ALERTS = EXAMPLES / "prometheus" / "alerts.yml"
COIN = "BTC"
MAY_BE_EMPTY = {
    "Topics' hit rate": "a prediction must have come due, which takes its horizon",
    "Start": "there is no start in the last minute but the first",
}


@dataclass
class Watched:
    """A bot that has traded, and the Prometheus that scrapes it."""

    bot: Bot
    target: str
    prometheus: Prometheus


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    if PROMETHEUS is None or PROMTOOL is None:
        pytest.skip("Prometheus is not installed (apt-get install prometheus)")
    folder = tmp_path_factory.mktemp("prometheus")
    target = f"127.0.0.1:{free_port()}"
    lively: dict[str, Any] = {
        "SIM_EPOCH_S": "2",
        "TRADE_PRICE_GAP_PCT": "0.01",
        "DEFAULT_ACTIVE_CRYPTOS": f"{COIN}:14,ETH:9",
    }
    bot = Bot(CHECKOUT, folder / "bot", BOT_METRICS_BIND=target, **lively)
    prometheus = Prometheus(folder / "prometheus", EXAMPLES / "prometheus", target)
    bot.start()
    prometheus.start()
    try:
        until(lambda: prometheus.query("allora_mqtt_mqtt_connected == 1"), "a connected bot", 60)
        _trade(bot, prometheus)
        yield Watched(bot, target, prometheus)
    finally:
        prometheus.stop()
        bot.stop()


def _trade(bot: Bot, prometheus: Prometheus) -> None:
    """Open positions, close them, and open others."""
    with Watcher(bot.broker_port) as client:
        client.command("mode/set", "response/mode", {"value": "ACTIVE"})
        until(lambda: prometheus.query("allora_mqtt_position_notional_usd"), "a position", 60)
        client.ask("flatten")
        client.command("mode/set", "response/mode", {"value": "ACTIVE"})
    closed = 'increase(allora_mqtt_positions_closed_total{reason="flatten"}[1h]) > 0'
    until(lambda: prometheus.query(closed), "a position that was closed", 60)
    until(lambda: prometheus.query("allora_mqtt_position_protected"), "another position", 60)


def test_promtool_accepts_configuration_and_rules() -> None:
    if PROMTOOL is None:
        pytest.skip("Prometheus is not installed (apt-get install prometheus)")
    for words in (["config", "prometheus.yml"], ["rules", "alerts.yml"]):
        checked = subprocess.run(
            [PROMTOOL, "check", *words], cwd=EXAMPLES / "prometheus", capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stderr


def test_each_rule_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    if PROMTOOL is None:
        pytest.skip("Prometheus is not installed (apt-get install prometheus)")
    tests = tmp_path / "rules.yml"
    tests.write_text((Path(__file__).parent / "prometheus_rules.yml").read_text().replace("alerts.yml", str(ALERTS)))
    done = subprocess.run([PROMTOOL, "test", "rules", tests], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_finds_nothing_to_complain_of_in_the_metrics(watched: Watched) -> None:
    assert PROMTOOL is not None
    with urllib.request.urlopen(f"http://{watched.target}/metrics", timeout=10) as answer:
        text = answer.read()
    checked = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_metric_is_scraped(watched: Watched) -> None:
    names = watched.prometheus.names()
    wanted = {PREFIX + each.name + ("_count" if each.kind == "histogram" else "") for each in FAMILIES}
    assert wanted - names <= {f"{PREFIX}coin_skill_ratio"}


def test_each_rule_reads_metrics_that_there_are(watched: Watched) -> None:
    names = watched.prometheus.names()
    for alert, expression in rules(ALERTS).items():
        assert metrics_in(expression), alert
        assert metrics_in(expression) <= names, alert


def test_nothing_is_wrong_with_a_bot_that_is_well(watched: Watched) -> None:
    assert set(watched.prometheus.alerts()) <= {"AlloraNoPredictions"}, "a coin's first prediction may be a moment late"


def test_each_panel_of_the_dashboard_shows_something(watched: Watched) -> None:
    def filled(expression: str) -> str:
        chosen = expression.replace("$instance", watched.target).replace("$coin", COIN)
        return chosen.replace("$__rate_interval", "10s")

    def empty() -> list[str]:
        return [
            f"{title}: {expression}"
            for title, expression in expressions(DASHBOARD)
            if title not in MAY_BE_EMPTY and not watched.prometheus.query(filled(expression))
        ]

    # Positions come and go: what is empty at one moment is looked at again.
    seen: set[str] = set(empty())

    def all_seen() -> bool:
        nonlocal seen
        seen &= set(empty())
        return not seen

    try:
        until(all_seen, "every panel", 30)
    except AssertionError as error:
        raise AssertionError(f"never anything to see in {sorted(seen)}") from error


def test_a_bot_that_is_gone_is_missed(watched: Watched) -> None:
    watched.bot.stop()
    until(lambda: watched.prometheus.alerts().get("AlloraBotDown"), "AlloraBotDown", 20)
