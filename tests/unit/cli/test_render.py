import io
import json
import sys
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console, RenderableType

from allora_mqtt.protocol.messages import BotStatus, CatalogMatch, CryptoState, Position
from allora_mqtt.protocol.runtime import HardLimits, RuntimeSettings, describe
from allora_mqtt.protocol.topics import Topics
from allora_mqtt_cli import answers, render
from allora_mqtt_cli.connection import Message
from allora_mqtt_cli.dashboard import Dashboard
from allora_mqtt_cli.output import Output
from allora_mqtt_cli.performance import sparkline
from tests.integration.test_cli_commands import COIN, NOW, POSITION, STATUS
from tests.unit.cli.test_outcome import response


def text_of(renderable: RenderableType, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(renderable)
    stream = console.file
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


def message(topic: str, content: str, at: float = 0) -> Message:
    return Message(topic, content.encode(), retained=False, received_at=at)


def test_status_shows_money_mode_and_what_is_wrong() -> None:
    breaker = {"name": "allora", "reason": "5 failures", "since": NOW}
    warning = {"code": "NO_CRYPTOS", "message": "Nothing to trade."}
    state = BotStatus.model_validate({**STATUS, "breakers": [breaker], "warnings": [warning]})
    shown = text_of(render.status(state, render.cell("online")))
    for said in ("STANDBY", "$512.50", "-$3.25", "BTC:14", "1 h 6 min", "allora open: 5 failures", "Nothing to trade."):
        assert said in shown


def test_tables_show_every_symbol_once() -> None:
    states = {"ETH": CryptoState.model_validate({**COIN, "position": POSITION})}
    shown = text_of(render.cryptos({"BTC": 14, "ETH": 13}, states))
    assert shown.count("BTC") == 1
    assert "SHORT 0.5" in shown
    held = text_of(render.positions([Position.model_validate({**POSITION, "ours": False})]))
    assert "3,030.00" in held
    assert "not the bot's" in held


def test_settings_show_range_and_unit() -> None:
    shown = text_of(render.settings(describe(RuntimeSettings(), HardLimits())))
    row = next(line.split() for line in shown.splitlines() if "price_gap_pct" in line)
    assert row == ["price_gap_pct", "0.25", "%", "0.01", "50", "0.05"]


TRADE = {
    "trade_id": "1-1", "symbol": "BTC", "side": "LONG", "ours": True, "size": 0.5, "open_size": 0, "entry_price": 60000,
    "exit_price": 61000, "closed_pnl_usd": 500, "fees_usd": 27.5, "funding_usd": -1.5, "pnl_usd": 471, "pnl_pct": 1.57,
    "reason": "target", "opened_at": NOW, "closed_at": NOW, "holding_s": 7260, "topic_id": 14, "signal_id": "s",
    "fills": 2,
}  # fmt: skip


def test_performance_is_sums_and_tables_with_the_course_of_the_equity(capsys: pytest.CaptureFixture[str]) -> None:
    result = {"closed_pnl_usd": 500, "fees_usd": 27.5, "funding_usd": -1.5, "pnl_usd": 471, "fills": 2, "trades": 1}
    result |= {"wins": 1, "losses": 0}
    lost = result | {"key": "2026-11-20", "pnl_usd": -47.1}
    data = {
        "since": "2026-11-19T00:00:00Z", "until": NOW, "closed_pnl_usd": 500, "fees_usd": 27.5, "funding_usd": -1.5,
        "pnl_usd": 471, "trades": 1, "wins": 1, "losses": 0, "win_rate_pct": 100, "profit_factor": None,
        "expectancy_usd": 471, "average_holding_s": 7260, "best": TRADE, "worst": TRADE, "max_drawdown_usd": 19.5,
        "max_drawdown_pct": 3.9, "days": [result | {"key": "2026-11-19"}, lost], "coins": [result | {"key": "BTC"}],
        "topics": [{"topic_id": 14, "trades": 1, "wins": 1, "losses": 0, "trade_hit_rate_pct": 100, "pnl_usd": 471}],
        "foreign": {"trades": 2, "pnl_usd": -3},
        "equity": [{"at": NOW, "equity_usd": value} for value in (500, 480.5, 510)],
    }  # fmt: skip
    answers.show_performance(Output(), response("EXECUTED", data=data))
    shown = capsys.readouterr().out
    for said in ("+$471.00", "-$1.50", "100.0 %", "2 h 1 min", "$19.50 (3.90 %)", "2, $-3.00", "coin", "topic"):
        assert said in shown
    assert "$500.00 to $510.00; lowest $480.50, highest $510.00" in shown
    assert "▅▁█" in shown
    bars = {line.split()[0]: line.count("█") for line in shown.splitlines() if " 2026-11" in f" {line.strip()[:8]}"}
    assert bars == {"2026-11-19": 12, "2026-11-20": 1}


def test_round_trips_are_one_line_each_and_the_next_page_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    still = TRADE | {"closed_at": None, "holding_s": None, "reason": None, "exit_price": None, "ours": False}
    page = {"trades": [TRADE, still], "next": "1795168800000000_1-1"}
    answers.show_trades(Output(), response("EXECUTED", data=page))
    captured = capsys.readouterr()
    first, second = [line for line in captured.out.splitlines() if "BTC" in line]
    assert ("60,000.00" in first, "+1.57 %" in first, "target" in first) == (True, True, True)
    assert second.split()[0] == "open"
    assert "--before 1795168800000000_1-1" in captured.err
    answers.show_trades(Output(), response("EXECUTED", data={"trades": [], "next": None}))
    assert capsys.readouterr().out == "Nothing yet.\n"


def test_a_course_is_drawn_in_no_more_columns_than_there_are() -> None:
    assert sparkline([]) == ""
    assert sparkline([Decimal(5)] * 3) == "▁▁▁"
    assert sparkline([Decimal(number) for number in range(800)], 8) == "▁▂▃▄▅▆▇█"


def test_history_says_what_was_asked_and_how_it_ended(capsys: pytest.CaptureFixture[str]) -> None:
    command = '{"value":"ACTIVE","id":"a","issued_at":"2026-11-20T10:00:00.000Z","source":"cli:a"}'
    error = {"code": "BREAKER_OPEN", "message": "Not now."}
    at = "2026-11-20T10:00:00.123+00:00"
    row = {"name": "mode", "command": command, "status": "REJECTED", "error": error, "source": "cli:a", "topic": "t"}
    answers.show_history(Output(), response("EXECUTED", data={"commands": [{**row, "received_at": at}]}))
    line = capsys.readouterr().out.splitlines()[-2]
    assert line.split("  ")[0].strip() == "2026-11-20 10:00:00"
    assert line.split()[2:] == ["mode", "ACTIVE", "REJECTED", "cli:a", "Not", "now.", "(BREAKER_OPEN)"]


def test_catalog_shows_topics() -> None:
    found = {"symbol": "BTC", "active": True, "price": 91000, "volume_24h": 2e9, "max_leverage": 40}
    topics = [{"id": 14, "kind": "price", "horizon": "8h"}]
    match = CatalogMatch.model_validate({**found, "availability": "both", "topics": topics})
    assert "14 (price 8h)" in text_of(render.catalog([match]))


def test_an_answer_of_any_shape_can_be_shown() -> None:
    data: dict[str, Any] = {
        "total": 1.5,
        "days": [{"day": "2026-11-19", "pnl_usd": 2}, {"day": "2026-11-20", "trades": 1}],
        "coins": {"BTC": {"pnl_usd": -1}},
        "open": [],
    }
    shown = text_of(render.answer(data))
    for said in ("total", "1.5", "2026-11-19", "pnl usd", "trades", "BTC", "-1", "none"):
        assert said in shown
    only = text_of(render.answer({"rows": [{"a": 1, "at": NOW, "b": 2}]}, ("at", "missing")))
    assert "2026-11-20 10:00:00" in only
    assert " a " not in only


@pytest.mark.parametrize("evil", ["\x1b]0;owned\x07", "[red]x[/red]", "\r\x1b[2J"])
def test_what_strangers_publish_cannot_steer_the_terminal(evil: str) -> None:
    shown = text_of(render.answer({"rows": [{"reason": evil}], "one": evil}))
    assert "\x1b" not in shown
    assert "\x07" not in shown
    if "[red]" in evil:
        assert "[red]x[/red]" in shown


@pytest.mark.parametrize(
    ("value", "shown"), [("91234.5", "91,234.50"), ("3.14159", "3.1416"), ("0.0000123456789", "0.0000123457")]
)
def test_prices_have_as_many_decimals_as_they_need(value: str, shown: str) -> None:
    assert render.price(Decimal(value)).plain == shown


def test_the_dashboard_turns_red_when_the_heart_stops() -> None:
    dashboard = Dashboard(Topics("bot"), 5)
    assert "Waiting for the bot" in text_of(dashboard.render(0))
    facts = {"seq": 1, "at": NOW, "uptime_s": 1, "mode": "ACTIVE", "revision": 1, "instance_id": "a"}
    beat = json.dumps({**facts, "loop_lag_ms": 2})
    dashboard.take(message("bot/availability", "online"))
    dashboard.take(message("bot/status", BotStatus.model_validate(STATUS).model_dump_json()))
    dashboard.take(message("bot/cryptos/BTC", CryptoState.model_validate(COIN).model_dump_json()))
    dashboard.take(message("bot/cryptos/set", "ACTIVE"))
    dashboard.take(message("bot/heartbeat", beat, at=100))
    assert "3 s ago, lag 2 ms" in text_of(dashboard.render(103))
    assert "91,234.50" in text_of(dashboard.render(103))
    assert border(dashboard, 112) == "green"
    assert border(dashboard, 113) == "red"
    dashboard.take(message("bot/cryptos/BTC", ""))
    assert "91,234.50" not in text_of(dashboard.render(103))


def test_the_dashboard_survives_what_it_cannot_read() -> None:
    dashboard = Dashboard(Topics("bot"), 5)
    dashboard.take(message("bot/status", '{"mode":"SIDEWAYS"}'))
    assert "does not understand" in text_of(dashboard.render(0))


def border(dashboard: Dashboard, now: float) -> object:
    return getattr(dashboard.render(now), "border_style", None)


def test_no_colour_where_nobody_looks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Output().say("done", "green")
    assert capsys.readouterr().out == "done\n"
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    Output().say("done", "green")
    monkeypatch.setenv("NO_COLOR", "1")
    Output().say("done", "green")
    assert terminal.getvalue() == "\x1b[32mdone\x1b[0m\ndone\n"


@pytest.mark.parametrize(
    ("width", "left_out"),
    [(160, set()), (100, {"liquidation"}), (80, {"liquidation", "leverage", "notional"})],
)
def test_positions_on_a_narrow_terminal_lack_columns_and_no_digits(width: int, left_out: set[str]) -> None:
    shown = text_of(render.positions([Position.model_validate(POSITION)]), width)
    assert "…" not in shown
    words = set(shown.split())
    assert {"symbol", "side", "entry", "PnL", "stop", "target"} <= words
    assert left_out.isdisjoint(words)
