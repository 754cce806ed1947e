"""What the gauges say of what the bot publishes."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from allora_mqtt.monitoring.families import READ
from allora_mqtt.monitoring.readings import View, readings
from allora_mqtt.protocol.messages import (
    Account,
    BotStatus,
    ConfigState,
    CryptoState,
    DependencyHealth,
    Health,
    Position,
)
from allora_mqtt.protocol.runtime import HardLimits, RuntimeSettings, describe
from tests.unit.protocol.strategies import instances

AT = datetime(2026, 11, 20, 10, tzinfo=UTC)
WELL = DependencyHealth.model_validate(
    {"state": "ok", "breaker": "closed", "last_success_at": AT, "latency_p50_ms": 20, "latency_p99_ms": 250,
     "last_error": None}
)  # fmt: skip
HEALTH = Health(mqtt=WELL, hyperliquid=WELL, hyperliquid_exchange=WELL, allora=WELL, store=WELL)
STATUS = BotStatus.model_validate(
    {"mode": "STANDBY", "since": AT, "reason": "start", "health": "tripped", "network": "sim", "active_cryptos": {},
     "warnings": [{"code": "WRONG_CLOCK", "message": "…"}], "equity_usd": None, "daily_pnl_usd": None,
     "exposure_usd": None, "open_positions": 0, "last_signal": None, "last_order": None,
     "breakers": [{"name": "drawdown", "reason": "…", "since": AT}], "uptime_s": 1, "version": "1", "instance_id": "i",
     "revision": 7}
)  # fmt: skip
EMPTY = View(STATUS, HEALTH, None, [], {}, None, {}, ("daily_loss", "drawdown"), {}, {}, 0, 0, is_connected=False)
ACCOUNT = Account.model_validate(
    {"equity_usd": 10_000, "withdrawable_usd": 9000, "margin_used_usd": 100, "exposure_usd": 200,
     "unrealized_pnl_usd": -3, "daily_pnl_usd": -50, "daily_pnl_pct": -0.5, "drawdown_pct": 12.5, "updated_at": AT}
)  # fmt: skip
POSITION: dict[str, Any] = {
    "symbol": "BTC", "side": "SHORT", "size": 0.1, "entry_price": 70_000, "mark_price": 71_000, "notional_usd": 7100,
    "unrealized_pnl_usd": -100, "margin_usd": 3550, "leverage": 2, "liquidation_price": None, "stop_price": 72_000,
    "target_price": None, "opened_at": AT, "ours": True,
}  # fmt: skip


def said(view: View) -> dict[tuple[str, ...], float]:
    return {(name, *labels): float(value) for name, labels, value in readings(view)}


def test_states_are_one_for_what_holds_and_zero_for_the_rest() -> None:
    found = said(EMPTY)
    assert {key[1]: value for key, value in found.items() if key[0] == "mode"} == {
        "STANDBY": 1,
        "ACTIVE": 0,
        "STOPPED": 0,
    }
    assert found["health", "tripped"] == 1
    assert found["health", "ok"] == 0
    assert found["warning", "WRONG_CLOCK"] == 1
    assert found["warning", "MASTER_KEY"] == 0
    assert found["breaker_open", "drawdown"] == 1
    assert found["breaker_open", "daily_loss"] == 0
    assert found["mqtt_connected",] == 0


def test_what_is_not_known_is_left_out() -> None:
    names = {name for name, _, _ in readings(EMPTY)}
    assert not names & {"equity_usd", "drawdown_ratio", "positions", "request_weight", "data_free_bytes"}


def test_percent_become_parts_and_milliseconds_seconds() -> None:
    found = said(replace(EMPTY, account=ACCOUNT))
    assert found["drawdown_ratio",] == 0.125
    assert found["daily_pnl_ratio",] == -0.005
    assert found["dependency_latency_seconds", "allora", "99"] == 0.25
    assert found["equity_usd",] == 10_000


def test_a_short_position_is_below_zero_and_one_without_a_stop_is_seen() -> None:
    bare = Position.model_validate(POSITION | {"symbol": "ETH", "side": "LONG", "stop_price": None})
    found = said(replace(EMPTY, account=ACCOUNT, positions=[Position.model_validate(POSITION), bare]))
    assert found["position_notional_usd", "BTC"] == -7100
    assert found["position_notional_usd", "ETH"] == 7100
    assert (found["position_protected", "BTC"], found["position_protected", "ETH"]) == (1, 0)
    assert (found["positions", "LONG"], found["positions", "SHORT"]) == (1, 1)


def test_a_broken_dependency_is_down_and_its_breaker_open() -> None:
    broken = WELL.model_copy(update={"state": "degraded", "breaker": "half_open"})
    found = said(replace(EMPTY, health=HEALTH.model_copy(update={"allora": broken})))
    assert (found["dependency_up", "allora"], found["dependency_up", "mqtt"]) == (0, 1)
    assert (found["breaker_open", "allora"], found["breaker_open", "mqtt"]) == (1, 0)


def test_settings_that_are_numbers_are_told() -> None:
    config = ConfigState(describe(RuntimeSettings(max_leverage=3), HardLimits()))
    found = said(replace(EMPTY, config=config))
    assert found["setting", "max_leverage"] == 3
    assert ("setting", "strategy") not in found


@settings(deadline=None, max_examples=50)
@given(
    instances(BotStatus),
    instances(Health),
    st.none() | instances(Account),
    st.lists(instances(Position), max_size=3),
    st.dictionaries(st.sampled_from(["BTC", "ETH"]), instances(CryptoState)),
)
def test_whatever_the_bot_says_fits_the_families(
    status: BotStatus,
    health: Health,
    account: Account | None,
    positions: list[Position],
    coins: dict[str, CryptoState],
) -> None:
    labels = {family.name: family.labels for family in READ}
    view = replace(EMPTY, status=status, health=health, account=account, positions=positions, coins=coins)
    for name, values, value in readings(view):
        assert len(values) == len(labels[name]), name
        assert float(value) == float(value), name
