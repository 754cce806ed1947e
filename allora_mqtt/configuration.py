"""Reads settings from flags, environment, `.env` and `allora-mqtt.toml`, in that order of precedence.

Names are flat (`MQTT_HOST`, `TRADE_AMOUNT_USD`); the part before the first underscore is the group. In TOML the group
is the table: `[mqtt] host = "…"`. What is set to nothing (`MQTT_HOST=`) is not set. Secrets may also come from a file
(`HL_SECRET_KEY_FILE`).
"""

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    TomlConfigSettingsSource,
)

from allora_mqtt.settings import DatabaseUrl, Settings

_READ: Final = stat.S_IRGRP | stat.S_IROTH
_CHANGED: Final = stat.S_IWGRP | stat.S_IWOTH

ENV_FILE: Final = Path(".env")
TOML_FILE: Final = Path("allora-mqtt.toml")


class SettingsError(Exception):
    """The configuration cannot be used.

    Attributes:
        problems: one sentence for each thing to mend.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings with the place each value that is not a default came from (`MQTT_HOST` → `environment`)."""

    settings: Settings
    origins: Mapping[str, str]
    warnings: tuple[str, ...]

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Yield name, value as text with secrets masked, and origin of each setting."""
        for group_name, group in self.settings:
            for key, value in group:
                name = f"{group_name}_{key}".upper()
                origin = self.origins.get(name) or self.origins.get(f"{name}_FILE", "default")
                yield name, "" if value is None else str(value), origin


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of a variable of the earlier bot: its new name, or why it is not needed."""

    to: str | None
    why: str = ""


EARLIER: Final[Mapping[str, Moved]] = {
    "PRICE_GAP": Moved("TRADE_PRICE_GAP_PCT"),
    "ALLOWED_AMOUNT_PER_TRADE": Moved("TRADE_AMOUNT_USD"),
    "MAX_LEVERAGE": Moved("TRADE_MAX_LEVERAGE"),
    "MAINNET": Moved(None, "the network is chosen by BOT_NETWORK"),
    "CONFIG_UPDATE_INTERVAL": Moved(None, "changes arrive over MQTT at once"),
    "BOT_COMMAND_DB_POLLING": Moved(None, "commands arrive over MQTT and nothing is polled"),
    "BOT_COMMAND_WEBSOCKET": Moved(None, "commands arrive over MQTT"),
    "WEBSOCKET_COMMAND_ENABLED": Moved(None, "commands arrive over MQTT"),
    "WEBSOCKET_COMMAND_CHANNEL": Moved(None, "topics are set by MQTT_BASE_TOPIC"),
    "DB_PATH": Moved(None, "the database lies in BOT_DATA_DIR, or where BOT_DATABASE_URL says"),
    "BTC_TOPIC_ID": Moved(None, "topics come from the network's own list; set DEFAULT_ACTIVE_CRYPTOS=BTC:<id>"),
    "ETH_TOPIC_ID": Moved(None, "topics come from the network's own list; set DEFAULT_ACTIVE_CRYPTOS=ETH:<id>"),
    "CHECK_FOR_TRADES": Moved(None, "the bot looks at every new price"),
    "VOLATILITY_THRESHOLD": Moved(
        None, "TRADE_STRATEGY=volatility takes TRADE_VOLATILITY_RATIO, and any strategy TRADE_MIN_VOLATILITY_PCT"
    ),
    "CONFIDENCE_THRESHOLD": Moved("REVIEWER_MIN_CONFIDENCE"),
    "MAXIMUM_RISK_THRESHOLD": Moved("REVIEWER_MAX_RISK"),
    "MAX_PREDICTION_AGE_SECONDS": Moved(None, "ALLORA_MAX_AGE_S counts from the prediction's own timestamp"),
    "MAX_API_LATENCY_SECONDS": Moved(None, "requests are bounded by HL_TIMEOUT_S and ALLORA_TIMEOUT_S"),
    "HL_MASTER_ADDRESS": Moved("HL_ACCOUNT_ADDRESS"),
}
"""Variables of the earlier bot that a moved `.env` may still hold."""

_ALIASES: Final[Mapping[tuple[str, str], str]] = {
    ("allora", "upshot_key"): "api_key",
    ("allora", "upshot_key_file"): "api_key_file",
}
"""Second names that stay: group and key, and the key meant."""

_KEYS: Final[Mapping[str, frozenset[str]]] = {
    group: frozenset(getattr(field.annotation, "model_fields", ())) for group, field in Settings.model_fields.items()
}
"""The keys of each group."""


def is_setting(name: str) -> bool:
    """Tell whether there is a setting of this name."""
    group, _, key = name.lower().partition("_")
    return key in _KEYS.get(group, ())


def is_secret(name: str) -> bool:
    """Tell whether a setting holds a secret."""
    group, _, key = name.lower().partition("_")
    if not is_setting(name):
        return False
    fields = getattr(Settings.model_fields[group].annotation, "model_fields", {})
    return SecretStr in (fields[key].annotation, *get_args(fields[key].annotation))


def load(flags: Mapping[str, object] | None = None, env_file: Path = ENV_FILE, toml_file: Path = TOML_FILE) -> Loaded:
    """Read, merge and check the configuration.

    Args:
        flags: values from the command line by setting name (`{"MQTT_HOST": "broker"}`).
        env_file: the `.env` file, if it exists.
        toml_file: the TOML file, if it exists.

    Raises:
        SettingsError: with one sentence for each value that cannot be used, saying where it came from.
    """
    named_flags = {key: value for key, value in (flags or {}).items() if value is not None}
    sources: list[tuple[str, Callable[[], PydanticBaseSettingsSource]]] = [
        ("environment", lambda: EnvSettingsSource(Settings)),
        (str(env_file), lambda: DotEnvSettingsSource(Settings, env_file=env_file)),
    ]
    tree: dict[str, dict[str, Any]] = {}
    origins: dict[str, str] = {}
    warnings: list[str] = []
    problems: list[str] = []
    _merge("command line", _grouped(named_flags), tree, origins)
    for origin, source in sources:
        try:
            values = source()()
        except (OSError, ValueError) as error:
            raise SettingsError([f"{origin}: {error}."]) from error
        earlier = _take_earlier(values)
        if origin == "environment":
            # Names outside our groups are not among the values read from there.
            named = {key.upper(): value for key, value in os.environ.items()}
            earlier |= {name: named[name] for name in EARLIER if name in named}
        groups = {key: group for key, group in values.items() if _is_group(key, group)}
        problems += [f"{key.upper()}: there is no such setting ({origin})." for key in values if key not in groups]
        moved, notes = _moved(earlier, groups, origin)
        warnings += notes
        _merge(origin, groups, tree, origins)
        _merge(origin, moved, tree, origins)
    _merge(str(toml_file), _toml(toml_file, problems), tree, origins)
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as invalid:
        problems += [_explain(error, origins) for error in invalid.errors(include_url=False, include_input=False)]
        raise SettingsError(problems) from None
    if problems:
        raise SettingsError(problems)
    return Loaded(settings, origins, (*warnings, *_open_secrets(settings, origins), *_mute_buttons(settings, origins)))


def _open_secrets(settings: Settings, origins: Mapping[str, str]) -> Iterator[str]:
    """Tell of files with secrets that others on this machine can read or change."""
    found: dict[Path, list[str]] = {}
    if settings.mqtt.tls_key is not None and settings.mqtt.tls_key.is_file():
        found[settings.mqtt.tls_key] = ["MQTT_TLS_KEY"]
    for group_name, group in settings:
        for key, value in group:
            if not isinstance(value, SecretStr) or (isinstance(value, DatabaseUrl) and not value.holds_password):
                continue
            name = f"{group_name}_{key}".upper()
            file = getattr(group, f"{key}_file", None)
            if file is not None:
                found.setdefault(file, []).append(name)
            elif Path(origins.get(name, "")).is_file():
                found.setdefault(Path(origins[name]), []).append(name)
    for file, names in found.items():
        mode = stat.S_IMODE(file.stat().st_mode)
        can = [word for word, bits in (("read", _READ), ("changed", _CHANGED)) if mode & bits]
        if can:
            held = f"{file} holds {' and '.join(names)} and can be {' and '.join(can)} by others"
            yield f"{held} (mode {mode:o}): chmod 600 {file}."


def _mute_buttons(settings: Settings, origins: Mapping[str, str]) -> Iterator[str]:
    """Tell of it before somebody finds out in an emergency, unless it is what was asked for."""
    mqtt = settings.mqtt
    is_asked_for = "MQTT_UNSIGNED_COMMANDS" in origins
    if mqtt.command_secret is not None and mqtt.discovery and mqtt.unsigned_commands == "refuse" and not is_asked_for:
        yield (
            "MQTT_COMMAND_SECRET is set, and Home Assistant cannot sign: none of its buttons works, nor its STANDBY. "
            "MQTT_UNSIGNED_COMMANDS=reduce_risk lets STANDBY, OFF, close and flatten through unsigned; set it to "
            "refuse if this is what you want."
        )


def _grouped(flat: Mapping[str, object]) -> dict[str, dict[str, object]]:
    tree: dict[str, dict[str, object]] = {}
    for name, value in flat.items():
        group, _, key = name.lower().partition("_")
        tree.setdefault(group, {})[key] = value
    return tree


def _merge(origin: str, values: Mapping[str, Any], tree: dict[str, dict[str, Any]], origins: dict[str, str]) -> None:
    """Take over what no source of higher precedence has set; an empty text sets nothing."""
    for group, fields in values.items():
        for written, value in fields.items():
            key = _ALIASES.get((group, written), written)
            if (key != written and key in fields) or (value == "" and key in _KEYS.get(group, ())):
                continue
            name = f"{group}_{key}".upper()
            if key not in tree.setdefault(group, {}):
                tree[group][key] = value
                origins[name] = origin


def _is_group(key: str, group: object) -> bool:
    return key in Settings.model_fields and isinstance(group, dict)


def _take_earlier(values: dict[str, Any]) -> dict[str, object]:
    """Take the earlier bot's variables out of what was read; some of them look like members of a group."""
    taken: dict[str, object] = {}
    for name in EARLIER:
        group, _, key = name.lower().partition("_")
        if name.lower() in values:
            taken[name] = values.pop(name.lower())
        elif isinstance(values.get(group), dict) and key in values[group]:
            taken[name] = values[group].pop(key)
    return taken


def _moved(
    values: Mapping[str, object], present: Mapping[str, Mapping[str, object]], origin: str
) -> tuple[dict[str, dict[str, object]], list[str]]:
    taken: dict[str, object] = {}
    notes = []
    for name, moved in EARLIER.items():
        if name not in values:
            continue
        if moved.to is None:
            notes.append(f"{name} ({origin}) is no longer needed: {moved.why}.")
            continue
        group, _, key = moved.to.lower().partition("_")
        if key in present.get(group, {}):
            notes.append(f"{name} ({origin}) is ignored, because {moved.to}, its new name, is set too.")
        else:
            taken[moved.to] = values[name]
            notes.append(f"{name} ({origin}) is called {moved.to} now; it is taken over, please rename it.")
    return _grouped(taken), notes


def _toml(path: Path, problems: list[str]) -> dict[str, dict[str, object]]:
    if not path.exists():
        return {}
    try:
        values: dict[str, Any] = TomlConfigSettingsSource(Settings, path)()
    except (OSError, ValueError) as error:
        raise SettingsError([f"{path}: {error}."]) from error
    problems += [
        f"[{key}]: there is no such table ({path})." for key, group in values.items() if not _is_group(key, group)
    ]
    return {key: group for key, group in values.items() if _is_group(key, group)}


def _explain(error: ErrorDetails, origins: Mapping[str, str]) -> str:
    name = "_".join(str(part) for part in error["loc"][:2]).upper()
    message = str(error["msg"]).removeprefix("Value error, ").removesuffix(".")
    key, colon, rest = message.partition(": ")
    if colon and key in _KEYS.get(name.lower(), ()):
        # What a group says of one of its settings, once it has seen them all.
        name, message = f"{name}_{key}".upper(), rest
    if error["type"] == "extra_forbidden":
        message = "there is no such setting"
    origin = f" ({origins[name]})" if name in origins else ""
    return f"{name or 'Settings'}: {message}{origin}."
