"""The components that every bot has, whatever it trades.

Values that may be null become `None` in a template, which Home Assistant takes for an unknown state. A template asks
nothing of a null, for that would be a warning in Home Assistant's log each time.
"""

import math
from typing import Any, Final

from allora_mqtt.discovery.subject import SOURCE, Component, Subject, press
from allora_mqtt.protocol.commands import CancelOrders, Flatten, Mode, RefreshCatalog, ResetBreaker
from allora_mqtt.protocol.runtime import SettingState
from allora_mqtt.protocol.topics import Address, Event, Slot

_LEAST_EXPIRY_S: Final = 15
_MISSED_BEATS: Final = 3
_ABBREVIATIONS: Final = {"tp": "TP", "sl": "SL"}
_USD: Final = {"unit_of_meas": "USD", "dev_cla": "monetary", "stat_cla": "total", "sug_dsp_prc": 2}


def all_of(subject: Subject) -> dict[str, Component]:
    """Return the components by key."""
    return {
        "mode": _mode(subject),
        "add_crypto": _add_crypto(subject),
        **_buttons(subject),
        **_sensors(subject),
        **_diagnostics(subject),
        **_events(subject),
        **{key: _setting(subject, key, state) for key, state in subject.settings.items()},
    }


def _mode(subject: Subject) -> Component:
    expiry = ""
    if subject.active_expiry_s is not None:
        # Not Home Assistant's own message expiry: that would let the broker throw a STANDBY away too.
        until = f"(utcnow() + timedelta(seconds={subject.active_expiry_s})).isoformat()"
        expiry = f'{{% if value == \'{Mode.ACTIVE}\' %}},"expires_at":"{{{{ {until} }}}}"{{% endif %}}'
    return subject.component(
        "select",
        "mode",
        "Mode",
        "robot",
        ops=[Mode.STANDBY, Mode.ACTIVE, Mode.STOPPED],
        stat_t=subject.topics.mode,
        cmd_t=subject.topics.command(Address(Slot.MODE)),
        cmd_tpl=f'{{"value":"{{{{ value }}}}",{SOURCE}{expiry}}}',
    )


def _add_crypto(subject: Subject) -> Component:
    """A box for a symbol; always empty, so that it is not optimistic and the next symbol can be written into it."""
    return subject.component(
        "text",
        "add_crypto",
        "Add crypto",
        "plus-circle-outline",
        stat_t=subject.topics.cryptos,
        val_tpl="{{ '' }}",
        cmd_t=subject.topics.command(Address(Slot.REQUEST, "activate")),
        cmd_tpl=f'{{"symbol":{{{{ value | trim | to_json }}}},{SOURCE}}}',
        max=20,
    )


def _buttons(subject: Subject) -> dict[str, Component]:
    buttons: list[tuple[str, str, str, dict[str, str]]] = [
        (Flatten.name, "Flatten", "alert-octagon", {}),
        (CancelOrders.name, "Cancel orders", "cancel", {}),
        (RefreshCatalog.name, "Refresh catalog", "refresh", {"ent_cat": "config"}),
        (ResetBreaker.name, "Reset breaker", "restore-alert", {"ent_cat": "config"}),
    ]
    return {
        action: subject.component(
            "button",
            action,
            name,
            icon,
            cmd_t=subject.topics.command(Address(Slot.REQUEST, action)),
            pl_prs=press(),
            **fields,
        )
        for action, name, icon, fields in buttons
    }


def _sensors(subject: Subject) -> dict[str, Component]:
    topics = subject.topics

    def account(key: str, name: str, icon: str) -> Component:
        return subject.component(
            "sensor", key, name, icon, stat_t=topics.account, val_tpl=f"{{{{ value_json.{key}_usd }}}}", **_USD
        )

    return {
        "equity": account("equity", "Equity", "scale-balance"),
        "daily_pnl": account("daily_pnl", "Daily PnL", "cash-plus"),
        "exposure": account("exposure", "Exposure", "chart-donut"),
        "positions": subject.component(
            "sensor",
            "positions",
            "Positions",
            "layers-triple",
            stat_t=topics.positions,
            val_tpl="{{ value_json | length }}",
            stat_cla="measurement",
        ),
        "last_signal": _last(subject, "last_signal", "Last signal", "traffic-light", "x.direction ~ ' ' ~ x.symbol"),
        "last_order": _last(
            subject,
            "last_order",
            "Last order",
            "receipt-text",
            "x.side ~ ' ' ~ x.symbol ~ ' ' ~ x.status",
        ),
    }


def _last(subject: Subject, key: str, name: str, icon: str, said: str) -> Component:
    """A sensor on what was last, with all of it as attributes; unknown while there is none."""
    take = f"{{% set x = value_json.{key} %}}"
    return subject.component(
        "sensor",
        key,
        name,
        icon,
        stat_t=subject.topics.status,
        val_tpl=f"{take}{{{{ {said} if x else none }}}}",
        json_attr_t=subject.topics.status,
        json_attr_tpl=f"{take}{{{{ (x or {{}}) | to_json }}}}",
    )


def _diagnostics(subject: Subject) -> dict[str, Component]:
    topics = subject.topics
    expiry_s = max(_LEAST_EXPIRY_S, math.ceil(_MISSED_BEATS * subject.heartbeat_interval_s))
    return {
        "last_command": subject.component(
            "sensor",
            "last_command",
            "Last command",
            "console-line",
            ent_cat="diagnostic",
            stat_t=topics.last_command,
            val_tpl="{{ value_json.name }} {{ value_json.status }}",
            json_attr_t=topics.last_command,
            json_attr_tpl=(
                "{{ dict(id=value_json.id, source=value_json.source, error=value_json.error,"
                " warnings=value_json.warnings, executed_at=value_json.executed_at) | to_json }}"
            ),
        ),
        "connected": subject.component(
            "binary_sensor",
            "connected",
            "Connected",
            "lan-connect",
            ent_cat="diagnostic",
            dev_cla="connectivity",
            stat_t=topics.heartbeat,
            val_tpl="ON",
            exp_aft=expiry_s,
        ),
        "problem": subject.component(
            "binary_sensor",
            "problem",
            "Problem",
            "alert-circle",
            ent_cat="diagnostic",
            dev_cla="problem",
            stat_t=topics.status,
            val_tpl="{{ 'ON' if value_json.breakers or value_json.health != 'ok' else 'OFF' }}",
            json_attr_t=topics.status,
            json_attr_tpl=(
                "{{ dict(health=value_json.health, breakers=value_json.breakers, warnings=value_json.warnings)"
                " | to_json }}"
            ),
        ),
    }


def _events(subject: Subject) -> dict[str, Component]:
    def component(event: Event, name: str, icon: str, types: list[str], said: str) -> Component:
        return subject.component(
            "event",
            event.value,
            name,
            icon,
            evt_typ=types,
            stat_t=subject.topics.event(event),
            val_tpl=f"{{{{ dict(value_json, event_type={said}) | to_json }}}}",
        )

    profit = "value_json.closed_pnl_usd if value_json.pnl_usd is none else value_json.pnl_usd"
    return {
        "fill": component(Event.FILL, "Fill", "swap-horizontal", ["buy", "sell"], "value_json.side | lower"),
        "position_closed": component(
            Event.POSITION_CLOSED,
            "Position closed",
            "flag-checkered",
            ["profit", "loss"],
            f"'profit' if ({profit}) > 0 else 'loss'",
        ),
    }


def _setting(subject: Subject, key: str, state: SettingState) -> Component:
    shown = state.model_dump(mode="json")
    words = [word for word in key.split("_") if word not in {"pct", "usd", "s"}]
    first, *others = (_ABBREVIATIONS.get(word, word) for word in words)
    common: dict[str, Any] = {
        "ent_cat": "config",
        "stat_t": subject.topics.config,
        "val_tpl": f"{{{{ value_json.{key}.value }}}}",
        "cmd_t": subject.topics.command(Address(Slot.CONFIG_KEY, key)),
    }
    name = " ".join([first[:1].upper() + first[1:], *others])
    if shown["step"] is None:
        common |= {"ops": list(subject.strategies), "cmd_tpl": f'{{"value":"{{{{ value }}}}",{SOURCE}}}'}
        return subject.component("select", key, name, "strategy", **common)
    common |= {name: shown[name] for name in ("min", "max", "step")}
    common |= {"mode": "box", "cmd_tpl": f'{{"value":{{{{ value }}}},{SOURCE}}}'}
    if state.unit:
        common["unit_of_meas"] = state.unit
    if state.unit in _CLASSES:
        common["dev_cla"] = _CLASSES[state.unit]
    return subject.component("number", key, name, "tune", **common)


_CLASSES: Final = {"USD": "monetary", "s": "duration"}
