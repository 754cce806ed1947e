"""The components of each coin.

The topic of a coin is emptied when the coin is neither active nor held any more: its sensors are unknown then, and its
switch, which looks at the active set, is off.
"""

from typing import Any, Final

from allora_mqtt.discovery.subject import Component, Subject, press
from allora_mqtt.protocol.commands import Switch
from allora_mqtt.protocol.messages import Side
from allora_mqtt.protocol.topics import Address, Slot

_KEY: Final = "crypto_"


def all_of(subject: Subject) -> dict[str, Component]:
    """Return the components of all coins by key."""
    return {key: component for symbol in subject.cryptos for key, component in _of(subject, symbol).items()}


def symbol_of(key: str) -> str | None:
    """Return the coin, in small letters, whose switch has this key; of the key of another switch None."""
    return key.removeprefix(_KEY) if key.startswith(_KEY) else None


def _of(subject: Subject, symbol: str) -> dict[str, Component]:
    topics = subject.topics
    # The same key however the coin is written.
    own = f"{_KEY}{symbol.lower()}"

    def number(field: str, name: str, icon: str, unit: str, **fields: Any) -> Component:  # noqa: ANN401 - JSON
        return subject.component(
            "sensor",
            f"{own}_{name.rpartition(' ')[2]}",
            f"{symbol} {name}",
            icon,
            stat_t=topics.crypto(symbol),
            val_tpl=f"{{{{ value_json.{field} if value else none }}}}",
            unit_of_meas=unit,
            stat_cla="measurement",
            **fields,
        )

    held = "value and value_json.position"
    return {
        own: subject.component(
            "switch",
            own,
            symbol,
            "currency-sign",
            stat_t=topics.cryptos,
            val_tpl=f"{{{{ 'ON' if '{symbol}' in value_json else 'OFF' }}}}",
            stat_on=Switch.ON,
            stat_off=Switch.OFF,
            cmd_t=topics.command(Address(Slot.CRYPTO, symbol)),
            pl_on=press(value=Switch.ON),
            pl_off=press(value=Switch.OFF),
        ),
        f"{own}_price": number("price", "price", "currency-usd", "USD"),
        f"{own}_prediction": number("prediction", "prediction", "crystal-ball", "USD"),
        f"{own}_gap": number("gap_pct", "gap", "arrow-expand-vertical", "%", sug_dsp_prc=2),
        f"{own}_accuracy": number("skill_pct", "prediction accuracy", "bullseye-arrow", "%", sug_dsp_prc=1),
        f"{own}_position": subject.component(
            "sensor",
            f"{own}_position",
            f"{symbol} position",
            "swap-vertical",
            dev_cla="enum",
            ops=[*Side, "FLAT"],
            stat_t=topics.crypto(symbol),
            val_tpl=f"{{{{ value_json.position.side if {held} else 'FLAT' }}}}",
            json_attr_t=topics.crypto(symbol),
            json_attr_tpl=f"{{{{ (value_json.position if {held} else {{}}) | to_json }}}}",
        ),
    }
