"""The runtime settings: what may be changed over MQTT while the bot runs, each with its range, step and unit."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError

from allora_mqtt.protocol.errors import ErrorCode, Rejected, excerpt
from allora_mqtt.protocol.model import NOT_BOOL, Amount, Model


class Raises(StrEnum):
    """In which direction a change of a setting lets the bot risk more."""

    UP = "up"
    DOWN = "down"
    ANY = "any"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Knob:
    """How a setting is shown and stepped in a user interface, and which way it raises risk."""

    unit: str
    step: int | Decimal | None
    risk: Raises


def _knob(unit: str, step: str | None, risk: Raises) -> Knob:
    if step is None:
        return Knob(unit, None, risk)
    return Knob(unit, int(step) if step.isdecimal() else Decimal(step), risk)


_Number = Annotated[Amount, Field(max_digits=40, decimal_places=20)]
"""More digits than a float has; a number like 1e-99999999, which is in range, would keep the bot busy for minutes."""


class RuntimeSettings(Model):
    """The limits and parameters of trading that `<base>/config/set` changes; the defaults are safe for $500."""

    price_gap_pct: Annotated[_Number, Field(ge=Decimal("0.01"), le=50), _knob("%", "0.05", Raises.DOWN)] = Decimal(
        "0.25"
    )
    """How far the prediction must lie from the mark before a position is opened."""
    amount_usd: Annotated[_Number, Field(ge=5, le=1_000_000), _knob("USD", "5", Raises.UP)] = Decimal(50)
    """Money put into one trade, before leverage."""
    max_leverage: Annotated[int, Field(ge=1, le=50), NOT_BOOL, _knob("x", "1", Raises.UP)] = 2
    """The leverage used, where the asset allows it."""
    tp_ratio: Annotated[_Number, Field(ge=Decimal("0.1"), le=10), _knob("x gap", "0.1", Raises.NEVER)] = Decimal("1.0")
    """Take profit at this many times the predicted gap."""
    sl_ratio: Annotated[_Number, Field(ge=Decimal("0.1"), le=10), _knob("x gap", "0.1", Raises.UP)] = Decimal("0.5")
    """Stop at this many times the predicted gap."""
    exit_buffer_pct: Annotated[_Number, Field(ge=0, le=50), _knob("%", "0.1", Raises.UP)] = Decimal("1.0")
    """A position is closed when the prediction has turned against it by more than this."""
    max_slippage_pct: Annotated[_Number, Field(ge=Decimal("0.01"), le=10), _knob("%", "0.1", Raises.UP)] = Decimal(
        "0.5"
    )
    """How far from the mark an entry may fill."""
    max_spread_pct: Annotated[_Number, Field(ge=Decimal("0.01"), le=10), _knob("%", "0.1", Raises.UP)] = Decimal("0.5")
    """No entry while the spread is wider than this."""
    max_open_positions: Annotated[int, Field(ge=1, le=250), NOT_BOOL, _knob("", "1", Raises.UP)] = 5
    """How many positions and entries on their way there may be."""
    max_exposure_usd: Annotated[_Number, Field(ge=10, le=10_000_000), _knob("USD", "50", Raises.UP)] = Decimal(500)
    """Upper bound of the summed notional of positions and pending entries."""
    max_symbol_exposure_usd: Annotated[_Number, Field(ge=10, le=10_000_000), _knob("USD", "50", Raises.UP)] = Decimal(
        250
    )
    """The same for one coin."""
    max_orders_per_minute: Annotated[int, Field(ge=3, le=1200), NOT_BOOL, _knob("", "3", Raises.UP)] = 60
    """No entry that would make it more; an entry is three orders, and exits count too but are never held up."""
    max_daily_loss_pct: Annotated[_Number, Field(ge=Decimal("0.1"), le=100), _knob("%", "0.5", Raises.UP)] = Decimal(5)
    """At this loss since the first equity of the UTC day the bot goes to STANDBY."""
    max_drawdown_pct: Annotated[_Number, Field(ge=Decimal("0.1"), le=100), _knob("%", "0.5", Raises.UP)] = Decimal(15)
    """At this loss from the highest equity seen the bot goes to STANDBY."""
    cooldown_s: Annotated[int, Field(ge=0, le=604_800), NOT_BOOL, _knob("s", "60", Raises.DOWN)] = 900
    """No new entry in a coin for this long after its stop was hit."""
    strategy: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$"), _knob("", None, Raises.ANY)] = "allora_gap"
    """The strategy that turns predictions into signals, by name."""
    volatility_ratio: Annotated[_Number, Field(ge=Decimal("0.1"), le=10), _knob("x volatility", "0.1", Raises.DOWN)] = (
        Decimal("1.0")
    )
    """The strategy `volatility` wants a gap of at least this many times the volatility over the horizon."""
    min_confidence_band_pct: Annotated[int, Field(ge=0, le=95), NOT_BOOL, _knob("%", "1", Raises.DOWN)] = 0
    """No entry while the mark is inside the network's interval: up to 68 its 68 % one, above its 95 % one; 0 is off."""
    min_volatility_pct: Annotated[_Number, Field(ge=0, le=100), _knob("%", "0.1", Raises.DOWN)] = Decimal(0)
    """No entry in a market that moves less than this over 24 samples; 0 is off."""
    max_volatility_pct: Annotated[_Number, Field(ge=0, le=100), _knob("%", "0.5", Raises.UP)] = Decimal(100)
    """No entry in a market that moves more than this over 24 samples; 100 is off."""
    min_skill_pct: Annotated[_Number, Field(ge=0, le=100), _knob("%", "1", Raises.DOWN)] = Decimal(0)
    """No entry on a topic that foresaw the direction less often than this; 0 is off."""
    skill_window: Annotated[int, Field(ge=5, le=500), NOT_BOOL, _knob("predictions", "5", Raises.DOWN)] = 50
    """How many of a topic's newest resolved predictions its skill is measured on, and how many the gate wants."""
    max_funding_pct: Annotated[_Number, Field(ge=0, le=100), _knob("% per 8 h", "0.01", Raises.UP)] = Decimal(100)
    """No entry that would pay more funding than this; 100 is off."""

    def changed(self, changes: Mapping[str, object], hard_limits: "HardLimits") -> Self:
        """Return the settings with some of them changed.

        Args:
            changes: new values by key.
            hard_limits: the ceilings that no command can raise.

        Raises:
            Rejected: `UNKNOWN_KEY`, or `OUT_OF_RANGE` for a value outside its range or above a hard limit, or
                `BAD_VALUE` for one of the wrong type. Nothing is changed then.
        """
        known = type(self).model_fields
        for key in changes:
            if key not in known:
                raise Rejected(
                    ErrorCode.UNKNOWN_KEY,
                    f"There is no setting {excerpt(key)}; these can be changed: {', '.join(known)}.",
                )
        try:
            settings = type(self).model_validate({**self.model_dump(), **changes})
        except ValidationError as invalid:
            first = invalid.errors()[0]
            out_of_range = first["type"] in _RANGE_ERRORS
            raise Rejected(
                ErrorCode.OUT_OF_RANGE if out_of_range else ErrorCode.BAD_VALUE,
                f"{first['loc'][0]} = {excerpt(first['input'])} is not possible: {first['msg']}.",
            ) from invalid
        hard_limits.check(settings)
        return settings

    def raises_risk(self, new: "RuntimeSettings") -> bool:
        """Tell whether any of the new values lets the bot risk more than the present ones."""
        for key, knob in knobs().items():
            old_value, new_value = getattr(self, key), getattr(new, key)
            if old_value == new_value or knob.risk is Raises.NEVER:
                continue
            if knob.risk is Raises.ANY or (new_value > old_value) is (knob.risk is Raises.UP):
                return True
        return False


_RANGE_ERRORS = {"greater_than_equal", "less_than_equal", "greater_than", "less_than"}


class HardLimits(Model):
    """Bounds from the environment that no MQTT command can cross.

    Ceilings (`TRADE_HARD_MAX_…`), and a floor (`TRADE_HARD_MIN_…`) for what is the safer the higher it is.
    """

    amount_usd: Amount | None = None
    max_leverage: int | None = None
    max_slippage_pct: Amount | None = None
    max_open_positions: int | None = None
    max_exposure_usd: Amount | None = None
    max_symbol_exposure_usd: Amount | None = None
    max_orders_per_minute: int | None = None
    max_daily_loss_pct: Amount | None = None
    max_drawdown_pct: Amount | None = None
    cooldown_s: int | None = None

    def check(self, settings: RuntimeSettings) -> None:
        """Refuse settings that cross a bound.

        Raises:
            Rejected: `OUT_OF_RANGE`, naming the setting and the environment variable that bounds it.
        """
        crossed = self._crossed(settings)
        if crossed:
            raise Rejected(ErrorCode.OUT_OF_RANGE, f"{crossed[0]}, which only the bot's environment can change.")

    def clamp(self, settings: RuntimeSettings) -> tuple[RuntimeSettings, list[str]]:
        """Bring settings from before a bound was set within it.

        Returns:
            The settings that may be in force, and a sentence for each that was changed.

        Raises:
            ValueError: a bound lies outside the range that its setting can have at all.
        """
        notes = [f"{crossed}; the hard limit is in force now." for crossed in self._crossed(settings)]
        bounds = {key: bound for key, bound in self if bound is not None and _crosses(key, settings, bound)}
        return RuntimeSettings.model_validate({**settings.model_dump(), **bounds}), notes

    def _crossed(self, settings: RuntimeSettings) -> list[str]:
        return [
            f"{key} = {getattr(settings, key)} is {'below' if is_floor(key) else 'above'} the hard limit {bound} "
            f"({hard_limit_name(key)})"
            for key, bound in self
            if bound is not None and _crosses(key, settings, bound)
        ]


def hard_limit_name(key: str) -> str:
    """Return the environment variable that bounds a setting."""
    return f"TRADE_HARD_{'MIN' if is_floor(key) else 'MAX'}_{key.removeprefix('max_').upper()}"


def is_floor(key: str) -> bool:
    """Tell whether a setting is the safer the higher it is, so that its hard limit bounds it from below."""
    return knobs()[key].risk is Raises.DOWN


def _crosses(key: str, settings: RuntimeSettings, bound: Any) -> bool:  # noqa: ANN401 - a number of the setting's type
    value = getattr(settings, key)
    return bool(value < bound if is_floor(key) else value > bound)


class SettingState(Model):
    """One runtime setting in force, with what a user interface needs to offer it."""

    value: int | str | Amount
    min: int | Amount | None = None
    max: int | Amount | None = None
    step: int | Amount | None = None
    unit: str = ""


def knobs() -> dict[str, Knob]:
    """Return the display and risk facts of each runtime setting, by key."""
    return {key: knob for key, field in RuntimeSettings.model_fields.items() for knob in field.metadata if _is(knob)}


def _is(metadata: object) -> bool:
    return isinstance(metadata, Knob)


def describe(settings: RuntimeSettings, hard_limits: HardLimits) -> dict[str, SettingState]:
    """Return the payload of `<base>/config`: each setting's value, range, step and unit."""
    hard = hard_limits.model_dump(exclude_none=True)
    described = {}
    for key, knob in knobs().items():
        bounds: dict[str, Any] = {}
        for constraint in RuntimeSettings.model_fields[key].metadata:
            bounds["min"] = getattr(constraint, "ge", bounds.get("min"))
            bounds["max"] = getattr(constraint, "le", bounds.get("max"))
        if key in hard and is_floor(key):
            bounds["min"] = max(hard[key], bounds["min"])
        elif key in hard:
            bounds["max"] = min(hard[key], bounds["max"])
        described[key] = SettingState(value=getattr(settings, key), **bounds, step=knob.step, unit=knob.unit)
    return described
