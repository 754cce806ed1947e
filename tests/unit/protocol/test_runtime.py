from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allora_mqtt.protocol.errors import ErrorCode, Rejected
from allora_mqtt.protocol.messages import ConfigState
from allora_mqtt.protocol.runtime import HardLimits, Raises, RuntimeSettings, SettingState, describe, knobs

FREE = HardLimits()

RANGES = {
    "price_gap_pct": ("0.01", "50"),
    "amount_usd": ("5", "1000000"),
    "max_leverage": ("1", "50"),
    "tp_ratio": ("0.1", "10"),
    "sl_ratio": ("0.1", "10"),
    "exit_buffer_pct": ("0", "50"),
    "max_slippage_pct": ("0.01", "10"),
    "max_spread_pct": ("0.01", "10"),
    "max_open_positions": ("1", "250"),
    "max_exposure_usd": ("10", "10000000"),
    "max_daily_loss_pct": ("0.1", "100"),
    "max_drawdown_pct": ("0.1", "100"),
    "cooldown_s": ("0", "604800"),
    "volatility_ratio": ("0.1", "10"),
    "min_confidence_band_pct": ("0", "95"),
    "min_volatility_pct": ("0", "100"),
    "max_volatility_pct": ("0", "100"),
    "min_skill_pct": ("0", "100"),
    "skill_window": ("5", "500"),
    "max_funding_pct": ("0", "100"),
    "max_symbol_exposure_usd": ("10", "10000000"),
    "max_orders_per_minute": ("3", "1200"),
}
WHOLE = {
    "max_leverage", "max_open_positions", "cooldown_s", "min_confidence_band_pct", "skill_window",
    "max_orders_per_minute",
}  # fmt: skip
HARD_LIMITS = {
    "amount_usd": "TRADE_HARD_MAX_AMOUNT_USD",
    "max_leverage": "TRADE_HARD_MAX_LEVERAGE",
    "max_slippage_pct": "TRADE_HARD_MAX_SLIPPAGE_PCT",
    "max_open_positions": "TRADE_HARD_MAX_OPEN_POSITIONS",
    "max_exposure_usd": "TRADE_HARD_MAX_EXPOSURE_USD",
    "max_daily_loss_pct": "TRADE_HARD_MAX_DAILY_LOSS_PCT",
    "max_drawdown_pct": "TRADE_HARD_MAX_DRAWDOWN_PCT",
    "max_symbol_exposure_usd": "TRADE_HARD_MAX_SYMBOL_EXPOSURE_USD",
    "max_orders_per_minute": "TRADE_HARD_MAX_ORDERS_PER_MINUTE",
}


def refused(changes: dict[str, object], limits: HardLimits = FREE) -> Rejected:
    with pytest.raises(Rejected) as caught:
        RuntimeSettings().changed(changes, limits)
    return caught.value


def step_beyond(key: str) -> Decimal:
    return Decimal(1) if key in WHOLE else Decimal("0.000001")


def test_the_defaults_are_those_of_the_settings_table() -> None:
    assert RuntimeSettings().model_dump() == {
        "price_gap_pct": Decimal("0.25"),
        "amount_usd": 50,
        "max_leverage": 2,
        "tp_ratio": 1,
        "sl_ratio": Decimal("0.5"),
        "exit_buffer_pct": 1,
        "max_slippage_pct": Decimal("0.5"),
        "max_spread_pct": Decimal("0.5"),
        "max_open_positions": 5,
        "max_exposure_usd": 500,
        "max_symbol_exposure_usd": 250,
        "max_orders_per_minute": 60,
        "max_daily_loss_pct": 5,
        "max_drawdown_pct": 15,
        "cooldown_s": 900,
        "strategy": "allora_gap",
        "volatility_ratio": 1,
        "min_confidence_band_pct": 0,
        "min_volatility_pct": 0,
        "max_volatility_pct": 100,
        "min_skill_pct": 0,
        "skill_window": 50,
        "max_funding_pct": 100,
    }


def test_every_setting_has_a_range_here_or_is_the_strategy() -> None:
    assert set(RANGES) | {"strategy"} == set(RuntimeSettings.model_fields) == set(knobs())


@pytest.mark.parametrize("key", RANGES)
def test_each_setting_takes_its_bounds_and_nothing_beyond(key: str) -> None:
    least, most = map(Decimal, RANGES[key])
    for value in (least, most):
        for form in (value, str(value), float(value)):
            assert getattr(RuntimeSettings().changed({key: form}, FREE), key) == value
    for value in (least - step_beyond(key), most + step_beyond(key)):
        error = refused({key: str(value)})
        assert error.code is ErrorCode.OUT_OF_RANGE
        assert key in error.message


@pytest.mark.parametrize("key", RANGES)
@pytest.mark.parametrize("value", ["", "much", "NaN", "Infinity", "1,5", [], None, "0x10"])
def test_what_is_no_number_is_a_bad_value(key: str, value: object) -> None:
    assert refused({key: value}).code is ErrorCode.BAD_VALUE


@pytest.mark.parametrize("key", sorted(WHOLE))
@pytest.mark.parametrize("value", [2.5, "2.5", True])
def test_a_whole_number_is_wanted_where_things_are_counted(key: str, value: object) -> None:
    assert refused({key: value}).code is ErrorCode.BAD_VALUE


@pytest.mark.parametrize("value", ["", "Allora", "a b", "x" * 65, "9lives", 5])
def test_the_strategy_is_a_word(value: object) -> None:
    assert refused({"strategy": value}).code is ErrorCode.BAD_VALUE


def test_an_unknown_setting_is_named_and_the_known_ones_are_listed() -> None:
    error = refused({"max_leverage": 3, "leverage": 3})
    assert error.code is ErrorCode.UNKNOWN_KEY
    assert "'leverage'" in error.message
    assert all(key in error.message for key in RANGES)


def test_one_bad_value_changes_nothing_and_the_others_stay_as_they_are() -> None:
    before = RuntimeSettings(max_leverage=4)
    with pytest.raises(Rejected):
        before.changed({"amount_usd": 60, "max_leverage": 51}, FREE)
    assert before == RuntimeSettings(max_leverage=4)
    after = before.changed({"amount_usd": 60}, FREE)
    assert after == RuntimeSettings(max_leverage=4, amount_usd=Decimal(60))


def test_an_absurdly_long_value_is_not_repeated_in_full() -> None:
    assert len(refused({"max_leverage": "9" * 4000}).message) < 250
    assert len(refused({"strategy": "x" * 60_000}).message) < 250


@pytest.mark.parametrize(("key", "variable"), HARD_LIMITS.items())
def test_no_command_raises_a_setting_above_its_hard_limit(key: str, variable: str) -> None:
    ceiling = getattr(RuntimeSettings(), key)
    limits = HardLimits.model_validate({key: ceiling})
    assert RuntimeSettings().changed({key: ceiling}, limits) == RuntimeSettings()
    error = refused({key: ceiling + step_beyond(key)}, limits)
    assert error.code is ErrorCode.OUT_OF_RANGE
    assert variable in error.message


def test_every_hard_limit_bounds_a_setting() -> None:
    assert set(HardLimits.model_fields) == set(HARD_LIMITS) | {"cooldown_s"} < set(RANGES)


def test_no_command_shortens_the_cooldown_below_its_hard_limit() -> None:
    limits = HardLimits(cooldown_s=600)
    assert RuntimeSettings().changed({"cooldown_s": 600}, limits).cooldown_s == 600
    error = refused({"cooldown_s": 599}, limits)
    assert error.code is ErrorCode.OUT_OF_RANGE
    assert "below the hard limit 600 (TRADE_HARD_MIN_COOLDOWN_S)" in error.message
    assert describe(RuntimeSettings(), limits)["cooldown_s"].min == 600


@pytest.mark.parametrize(("key", "variable"), [*HARD_LIMITS.items(), ("cooldown_s", "TRADE_HARD_MIN_COOLDOWN_S")])
def test_what_was_stored_before_a_hard_limit_was_set_is_brought_within_it(key: str, variable: str) -> None:
    bound = getattr(RuntimeSettings(), key)
    beyond = bound - step_beyond(key) if key == "cooldown_s" else bound + step_beyond(key)
    stored = RuntimeSettings().changed({key: beyond}, FREE)
    in_force, notes = HardLimits.model_validate({key: bound}).clamp(stored)
    assert in_force == RuntimeSettings()
    assert len(notes) == 1
    assert f"{key} = {beyond} is " in notes[0]
    assert variable in notes[0]
    assert HardLimits.model_validate({key: bound}).clamp(in_force) == (in_force, [])


RISE_WITH = {
    "amount_usd", "max_leverage", "sl_ratio", "exit_buffer_pct", "max_slippage_pct", "max_spread_pct",
    "max_open_positions", "max_exposure_usd", "max_daily_loss_pct", "max_drawdown_pct", "max_volatility_pct",
    "max_funding_pct", "max_symbol_exposure_usd", "max_orders_per_minute",
}  # fmt: skip
FALL_WITH = {
    "price_gap_pct", "cooldown_s", "volatility_ratio", "min_confidence_band_pct", "min_volatility_pct", "min_skill_pct",
    "skill_window",
}  # fmt: skip


def test_which_way_each_setting_raises_risk_is_stated_for_all() -> None:
    ways = {key: knob.risk for key, knob in knobs().items()}
    assert {key for key, way in ways.items() if way is Raises.UP} == RISE_WITH
    assert {key for key, way in ways.items() if way is Raises.DOWN} == FALL_WITH
    assert {key for key, way in ways.items() if way is Raises.NEVER} == {"tp_ratio"}
    assert {key for key, way in ways.items() if way is Raises.ANY} == {"strategy"}


@pytest.mark.parametrize("key", RANGES)
def test_a_change_raises_risk_in_one_direction_only(key: str) -> None:
    value = getattr(RuntimeSettings(), key)
    if Decimal(value) in map(Decimal, RANGES[key]):
        # A gate that is off is at an end of its range: begin within.
        value = type(value)(5)
    present = RuntimeSettings().changed({key: value}, FREE)
    higher = present.changed({key: value + step_beyond(key)}, FREE)
    lower = present.changed({key: value - step_beyond(key)}, FREE)
    assert present.raises_risk(higher) is (key in RISE_WITH)
    assert present.raises_risk(lower) is (key in FALL_WITH)


def test_another_strategy_always_counts_as_more_risk() -> None:
    assert RuntimeSettings().raises_risk(RuntimeSettings(strategy="other"))


def test_one_raised_limit_among_lowered_ones_raises_risk() -> None:
    present = RuntimeSettings()
    mixed = present.changed({"amount_usd": 10, "max_exposure_usd": 100, "max_leverage": 3}, FREE)
    assert present.raises_risk(mixed)
    assert not present.raises_risk(mixed.changed({"max_leverage": 1}, FREE))


@settings(max_examples=50, deadline=None)
@given(amount=st.integers(5, 1000), leverage=st.integers(1, 50), gap=st.integers(1, 50))
def test_the_same_settings_never_raise_risk_and_two_ways_never_both_lower_it(
    amount: int, leverage: int, gap: int
) -> None:
    one = RuntimeSettings(amount_usd=Decimal(amount), max_leverage=leverage, price_gap_pct=Decimal(gap))
    other = RuntimeSettings()
    assert not one.raises_risk(one)
    assert one == other or one.raises_risk(other) or other.raises_risk(one)


def test_the_description_keeps_whole_numbers_whole() -> None:
    written = ConfigState(describe(RuntimeSettings(), FREE)).model_dump_json()
    assert '"max_leverage":{"value":2,"min":1,"max":50,"step":1,"unit":"x"}' in written
    assert '"price_gap_pct":{"value":0.25,"min":0.01,"max":50,"step":0.05,"unit":"%"}' in written
    assert '"strategy":{"value":"allora_gap","min":null,"max":null,"step":null,"unit":""}' in written
    for state in (SettingState(value=2), SettingState.model_validate_json('{"value":2}')):
        assert isinstance(state.value, int)
        assert state.model_dump_json(include={"value"}) == '{"value":2}'


@pytest.mark.parametrize("value", [2, Decimal("0.25"), Decimal(50), "allora_gap", "0"])
def test_a_described_value_survives_json_as_what_it_is(value: int | Decimal | str) -> None:
    assert SettingState.model_validate_json(SettingState(value=value).model_dump_json()).value == value


@pytest.mark.parametrize("key", RANGES)
def test_the_description_gives_each_range_and_a_step(key: str) -> None:
    state = describe(RuntimeSettings(), FREE)[key]
    assert (state.min, state.max) == tuple(map(Decimal, RANGES[key]))
    assert state.step is not None
    assert state.step > 0
    assert state.value == getattr(RuntimeSettings(), key)


@pytest.mark.parametrize("key", HARD_LIMITS)
def test_the_description_ends_at_the_hard_limit(key: str) -> None:
    ceiling = getattr(RuntimeSettings(), key)
    described = describe(RuntimeSettings(), HardLimits.model_validate({key: ceiling}))
    assert described[key].max == ceiling
    above = HardLimits.model_validate({key: 10**9})
    assert describe(RuntimeSettings(), above)[key].max == Decimal(RANGES[key][1])
    others: dict[str, Any] = {name: state for name, state in described.items() if name != key}
    assert others == {name: state for name, state in describe(RuntimeSettings(), FREE).items() if name != key}


@pytest.mark.parametrize("number", ["1e-21", "1e-99999999", "0.3" + "1" * 60_000])
def test_a_number_in_range_of_more_digits_than_anybody_means_is_refused(number: str) -> None:
    assert refused({"exit_buffer_pct": number}).code is ErrorCode.BAD_VALUE
    assert RuntimeSettings().changed({"exit_buffer_pct": 0.1 + 0.2}, FREE).exit_buffer_pct > 0


def test_what_was_wrong_is_said_in_a_short_printable_line() -> None:
    for key, value in (("\x1b" * 5000, "1"), ("strategy", "\x00" * 5000), ("max_leverage", "x" * 5000)):
        message = refused({key: value}).message
        assert message.isprintable()
        assert len(message) < 600
