import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest
from pydantic import SecretStr

from allora_mqtt.configuration import ENV_FILE, TOML_FILE, Loaded, SettingsError, load
from allora_mqtt.settings import DatabaseUrl, Settings

CANARY = "c4n4ry" * 8
KEY = "0x" + "1f" * 32
ADDRESS = "0x" + "ab" * 20


@dataclass(frozen=True, slots=True)
class Place:
    """A folder and an environment in which nothing is configured but what a test says."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def environment(self, **values: str) -> None:
        for name, value in values.items():
            self.monkeypatch.setenv(name, value)

    def env_file(self, *lines: str) -> None:
        self._write(ENV_FILE, lines)

    def toml(self, *lines: str) -> None:
        self._write(TOML_FILE, lines)

    def secret(self, content: str | bytes) -> str:
        path = self.folder / "secret"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(0o600)
        return str(path)

    def _write(self, name: Path, lines: tuple[str, ...]) -> None:
        path = self.folder / name
        path.write_text("\n".join(lines), encoding="utf-8")
        path.chmod(0o600)

    def set(self, source: str, name: str, value: str) -> str:
        """Set something in one of the sources, and return what that source is called."""
        group, _, key = name.partition("_")
        match source:
            case "environment":
                self.environment(**{name: value})
                return "environment"
            case "env file":
                self.env_file(f"{name}={value}")
                return str(ENV_FILE)
            case _:
                self.toml(f"[{group.lower()}]", f"{key.lower()} = '{value}'")
                return str(TOML_FILE)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    for name in list(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, monkeypatch)


def problems(flags: Mapping[str, object] | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(flags)
    assert all("\n" not in problem for problem in caught.value.problems)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def row(loaded: Loaded, name: str) -> tuple[str, str]:
    found = {key: (value, origin) for key, value, origin in loaded.rows()}
    return found[name]


SOURCES = ["environment", "env file", "toml"]


def test_with_nothing_set_everything_is_a_default(place: Place) -> None:
    loaded = load()
    assert {origin for _, _, origin in loaded.rows()} == {"default"}
    assert loaded.warnings == ()
    assert loaded.settings.bot.data_dir.is_relative_to(place.folder)


def test_flag_beats_environment_beats_env_file_beats_toml_beats_default(place: Place) -> None:
    place.toml("[mqtt]", 'host = "toml"')
    assert row(load(), "MQTT_HOST") == ("toml", "allora-mqtt.toml")
    place.env_file("MQTT_HOST=env-file")
    assert row(load(), "MQTT_HOST") == ("env-file", ".env")
    place.environment(MQTT_HOST="environment")
    assert row(load(), "MQTT_HOST") == ("environment", "environment")
    assert row(load({"MQTT_HOST": "flag"}), "MQTT_HOST") == ("flag", "command line")
    assert row(load({"MQTT_HOST": None}), "MQTT_HOST") == ("environment", "environment")


def test_sources_are_merged_value_by_value(place: Place) -> None:
    place.toml("[mqtt]", 'host = "a"', "port = 1", "[trade]", "amount_usd = 12.5")
    place.env_file("MQTT_PORT=2", "MQTT_USERNAME=alice")
    place.environment(MQTT_USERNAME="bob", MQTT_BASE_TOPIC="bots/bob")
    loaded = load({"BOT_DEFAULT_MODE": "LAST"})
    mqtt = loaded.settings.mqtt
    assert (mqtt.host, mqtt.port, mqtt.username, mqtt.base_topic) == ("a", 2, "bob", "bots/bob")
    assert loaded.origins == {
        "MQTT_HOST": "allora-mqtt.toml",
        "MQTT_PORT": ".env",
        "MQTT_USERNAME": "environment",
        "MQTT_BASE_TOPIC": "environment",
        "TRADE_AMOUNT_USD": "allora-mqtt.toml",
        "BOT_DEFAULT_MODE": "command line",
    }


def test_the_files_can_lie_elsewhere(place: Place) -> None:
    env_file, toml_file = place.folder / "my.env", place.folder / "my.toml"
    env_file.write_text("MQTT_PORT=2")
    toml_file.write_text("[mqtt]\nhost = 'a'")
    loaded = load(env_file=env_file, toml_file=toml_file)
    assert dict(loaded.origins) == {"MQTT_PORT": str(env_file), "MQTT_HOST": str(toml_file)}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", ["MQTT_HOST", "HL_VAULT", "HL_SECRET_KEY", "HL_SECRET_KEY_FILE", "MQTT_PORT"])
def test_what_is_set_to_nothing_is_not_set(place: Place, source: str, name: str) -> None:
    place.set(source, name, "")
    assert row(load(), name) == ("", "default")


def test_what_is_set_to_nothing_hides_no_other_source(place: Place) -> None:
    place.environment(MQTT_HOST="", ALLORA_UPSHOT_KEY="")
    place.env_file("MQTT_HOST=broker", f"ALLORA_API_KEY={CANARY}")
    loaded = load()
    assert row(loaded, "MQTT_HOST") == ("broker", ".env")
    assert row(loaded, "ALLORA_API_KEY") == ("**********", ".env")


def test_an_unknown_setting_set_to_nothing_is_still_unknown(place: Place) -> None:
    place.environment(MQTT_HOSTS="")
    assert problems() == ("MQTT_HOSTS: there is no such setting (environment).",)


def test_names_in_the_environment_may_be_small(place: Place) -> None:
    place.environment(mqtt_host="broker")
    assert row(load(), "MQTT_HOST") == ("broker", "environment")


def test_variables_of_other_programs_are_left_alone(place: Place) -> None:
    place.environment(MQTTX_HOST="x", BOTTLE="x", PATH="/bin", SIMPLE="x", HLX="x")
    assert load().warnings == ()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", ["MQTT_HOSTNAME", "BOT_NETWORKS", "TRADE_HARD_MAX_COOLDOWN_S", "HL_PRIVATE_KEY"])
def test_an_unknown_setting_is_an_error_that_names_it_and_its_source(place: Place, source: str, name: str) -> None:
    origin = place.set(source, name, CANARY)
    assert problems() == (f"{name}: there is no such setting ({origin}).",)


def test_an_unknown_flag_is_an_error() -> None:
    assert problems({"MQTT_HOSTNAME": "x"}) == ("MQTT_HOSTNAME: there is no such setting (command line).",)
    assert problems({"FOO_BAR": "x"}) == ("FOO: there is no such setting.",)


def test_an_unknown_group_in_a_file_is_an_error(place: Place) -> None:
    place.env_file(f"FOO_BAR={CANARY}")
    assert problems() == ("FOO_BAR: there is no such setting (.env).",)
    place.env_file("")
    place.toml("mqtt = 1", "[foo]", f"bar = '{CANARY}'")
    assert problems() == (
        "[mqtt]: there is no such table (allora-mqtt.toml).",
        "[foo]: there is no such table (allora-mqtt.toml).",
    )


@pytest.mark.parametrize("source", ["environment", "env file"])
@pytest.mark.parametrize("value", ["1", "[]", CANARY, "{"])
def test_a_group_without_a_key_is_an_error(place: Place, source: str, value: str) -> None:
    place.set(source, "BOT", value)
    found = problems()
    assert len(found) == 1
    assert "bot" in found[0].lower()
    assert CANARY not in found[0]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("MQTT_PORT", "65536", "less than or equal to 65535"),
        ("MQTT_PORT", "0", "greater than or equal to 1"),
        ("MQTT_PROTOCOL", "4", "'auto', '5' or '3.1.1'"),
        ("MQTT_BASE_TOPIC", "bot/+", "base topic"),
        ("MQTT_TLS", "perhaps", "boolean"),
        ("MQTT_SESSION_EXPIRY_S", "1", "greater than or equal to 60"),
        ("BOT_NETWORK", "moon", "'sim', 'paper', 'testnet' or 'mainnet'"),
        ("BOT_DEFAULT_MODE", "STOPPED", "'STANDBY', 'LAST' or 'ACTIVE'"),
        ("BOT_HEARTBEAT_INTERVAL_S", "0", "greater than or equal to 0.1"),
        ("BOT_COMMAND_MAX_AGE_S", "inf", "finite"),
        ("BOT_COMMAND_MAX_AGE_S", "nan", "finite"),
        ("BOT_WAITING_ACTIVATION", "maybe", "'run', 'fresh' or 'reject'"),
        ("BOT_DATABASE_URL", "mysql://x", "sqlite:///"),
        ("TRADE_MAX_LEVERAGE", "51", "less than or equal to 50"),
        ("TRADE_AMOUNT_USD", "NaN", "finite"),
        ("TRADE_HARD_MAX_AMOUNT_USD", "nan", "finite"),
        ("HL_ACCOUNT_ADDRESS", "0x12", "pattern"),
        ("HL_TIMEOUT_S", "61", "less than or equal to 60"),
        ("SIM_SKILL", "1.1", "less than or equal to 1"),
        ("SIM_PRICES", "replay", "pattern"),
        ("SIM_BIND", "localhost", "HOST:PORT"),
        ("EMBEDDED_BROKER_BIND", "0.0.0.0:1883", "127.0.0.1 only"),
        ("DEFAULT_ACTIVE_CRYPTOS", "BTC", "SYMBOL:TOPIC_ID"),
    ],
)
def test_a_value_out_of_range_is_explained_in_one_line(
    place: Place, source: str, name: str, value: str, reason: str
) -> None:
    origin = place.set(source, name, value)
    (problem,) = problems()
    assert problem.startswith(f"{name}: ")
    assert problem.endswith(f" ({origin}).")
    assert reason in problem


def test_all_problems_are_told_at_once(place: Place) -> None:
    place.environment(MQTT_PORT="0", BOT_FOO="1")
    place.env_file("FOO=1", "TRADE_AMOUNT_USD=1")
    place.toml("[bar]")
    assert {problem.partition(":")[0] for problem in problems()} == {
        "MQTT_PORT", "BOT_FOO", "FOO", "TRADE_AMOUNT_USD", "[bar]"
    }  # fmt: skip


def test_files_that_cannot_be_parsed_are_named(place: Place) -> None:
    place.toml("[mqtt")
    (problem,) = problems()
    assert problem.startswith("allora-mqtt.toml: ")
    for name in (TOML_FILE, ENV_FILE):
        (place.folder / TOML_FILE).unlink(missing_ok=True)
        (place.folder / name).write_bytes(b"MQTT_HOST=\xff\n")
        (problem,) = problems()
        assert problem.startswith(f"{name}: ")
    (place.folder / ENV_FILE).unlink()
    place.environment(BOT_CRYPTO_SETS='{"popular":')
    (problem,) = problems()
    assert problem.startswith("environment: ")


@pytest.mark.parametrize(
    ("error", "name"),
    [(PermissionError("no"), ENV_FILE), (PermissionError("no"), TOML_FILE)],
)
def test_files_that_cannot_be_opened_are_named(
    place: Place, monkeypatch: pytest.MonkeyPatch, error: OSError, name: Path
) -> None:
    (place.folder / name).touch()

    def deny(*_: object, **__: object) -> None:
        raise error

    for target in ("DotEnvSettingsSource", "TomlConfigSettingsSource"):
        if target.startswith("Toml") is (name == TOML_FILE):
            monkeypatch.setattr(f"allora_mqtt.configuration.{target}", deny)
    (problem,) = problems()
    assert problem == f"{name}: no."


SECRETS = {
    "MQTT_PASSWORD": CANARY,
    "MQTT_COMMAND_SECRET": "alice:canary-of-the-one-who-commands-3141592",
    "HL_SECRET_KEY": KEY,
    "ALLORA_API_KEY": CANARY,
    "REVIEWER_API_KEYS": CANARY,
    "EMBEDDED_BROKER_USERS": f"alice:{CANARY}",
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("name", "secret"), SECRETS.items())
def test_a_secret_is_read_from_its_file(place: Place, source: str, name: str, secret: str) -> None:
    origin = place.set(source, f"{name}_FILE", place.secret(f"  {secret}\n"))
    loaded = load()
    group, _, key = name.lower().partition("_")
    assert getattr(getattr(loaded.settings, group), key).get_secret_value() == secret
    assert row(loaded, name) == ("**********", origin)


@pytest.mark.parametrize(("name", "secret"), SECRETS.items())
def test_a_secret_and_its_file_together_are_an_error(place: Place, name: str, secret: str) -> None:
    place.environment(**{name: secret})
    place.env_file(f"{name}_FILE={place.secret(secret)}")
    (problem,) = problems()
    assert "not both" in problem
    assert secret not in problem


@pytest.mark.parametrize("name", SECRETS)
def test_a_secrets_file_that_cannot_be_read_is_an_error(place: Place, name: str) -> None:
    for path in (str(place.folder / "nowhere"), str(place.folder), place.secret(b"\xff\xfe\x80")):
        place.environment(**{f"{name}_FILE": path})
        (problem,) = problems()
        assert path in problem
        assert "cannot be read" in problem


@pytest.mark.parametrize("name", [name for name in SECRETS if name != "MQTT_COMMAND_SECRET"])
def test_an_empty_file_is_a_secret_that_is_not_set(place: Place, name: str) -> None:
    place.environment(**{f"{name}_FILE": place.secret("\n")})
    group, _, key = name.lower().partition("_")
    assert getattr(getattr(load().settings, group), key) is None


def test_a_secret_read_from_a_file_is_checked_like_any_other(place: Place) -> None:
    place.environment(HL_SECRET_KEY_FILE=place.secret(CANARY))
    (problem,) = problems()
    assert "64 hexadecimal digits" in problem
    assert CANARY not in problem


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("name", "secret"), SECRETS.items())
def test_secrets_are_masked_wherever_settings_are_shown(place: Place, source: str, name: str, secret: str) -> None:
    origin = place.set(source, name, secret)
    loaded = load()
    assert row(loaded, name) == ("**********", origin)
    for shown in (repr(loaded), str(loaded), repr(loaded.settings), str(list(loaded.rows())),
                  loaded.settings.model_dump_json()):  # fmt: skip
        assert secret not in shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HL_SECRET_KEY", CANARY),
        ("HL_SECRET", CANARY),
        ("HL", f'{{"secret_key":"{CANARY}"'),
        ("HL", f'{{"secret_key":["{CANARY}"]}}'),
        ("HL", f'"{CANARY}"'),
        ("MQTT", f'{{"password":{{"a":"{CANARY}"}}}}'),
        ("ALLORA_APIKEY", CANARY),
        ("BOT_DATABASE_URL", f"postgres://bot:{CANARY}@db/bot"),
    ],
)
def test_a_secret_in_the_wrong_form_does_not_appear_in_the_error(place: Place, name: str, value: str) -> None:
    place.environment(**{name: value})
    with pytest.raises(SettingsError) as caught:
        load()
    error: BaseException | None = caught.value
    while error is not None:
        assert CANARY not in f"{error} {error!r}" or error.__suppress_context__
        error = error.__cause__


def test_a_secret_beside_other_mistakes_does_not_appear_in_the_error(place: Place) -> None:
    place.environment(MQTT_PASSWORD=CANARY, ALLORA_API_KEY=CANARY, MQTT_PORT="0", BOT_NETWORK="moon")
    place.toml("[hl]", f"secret_key = ['{CANARY}']")
    assert CANARY not in str(problems())


@pytest.mark.parametrize("source", SOURCES)
def test_the_upshot_key_is_the_api_key(place: Place, source: str) -> None:
    origin = place.set(source, "ALLORA_UPSHOT_KEY", CANARY)
    loaded = load()
    assert loaded.settings.allora.api_key is not None
    assert loaded.settings.allora.api_key.get_secret_value() == CANARY
    assert row(loaded, "ALLORA_API_KEY") == ("**********", origin)
    assert loaded.warnings == ()


def test_the_two_names_of_the_api_key_follow_the_precedence_of_their_sources(place: Place) -> None:
    place.environment(ALLORA_UPSHOT_KEY="environment")
    place.env_file("ALLORA_API_KEY=file")
    loaded = load()
    assert loaded.settings.allora.api_key is not None
    assert loaded.settings.allora.api_key.get_secret_value() == "environment"
    place.environment(ALLORA_API_KEY="new name")
    loaded = load()
    assert loaded.settings.allora.api_key is not None
    assert loaded.settings.allora.api_key.get_secret_value() == "new name"


def test_the_upshot_key_can_lie_in_a_file(place: Place) -> None:
    place.environment(ALLORA_UPSHOT_KEY_FILE=place.secret(CANARY))
    assert row(load(), "ALLORA_API_KEY") == ("**********", "environment")
    place.environment(ALLORA_UPSHOT_KEY="x")
    assert "not both" in problems()[0]


TAKEN_OVER = {
    "PRICE_GAP": ("0.4", "TRADE_PRICE_GAP_PCT"),
    "ALLOWED_AMOUNT_PER_TRADE": ("25", "TRADE_AMOUNT_USD"),
    "MAX_LEVERAGE": ("3", "TRADE_MAX_LEVERAGE"),
    "HL_MASTER_ADDRESS": (ADDRESS, "HL_ACCOUNT_ADDRESS"),
    "CONFIDENCE_THRESHOLD": ("60", "REVIEWER_MIN_CONFIDENCE"),
    "MAXIMUM_RISK_THRESHOLD": ("3", "REVIEWER_MAX_RISK"),
}
EXPLAINED = [
    "MAINNET", "CONFIG_UPDATE_INTERVAL", "BOT_COMMAND_DB_POLLING", "BOT_COMMAND_WEBSOCKET",
    "WEBSOCKET_COMMAND_ENABLED", "WEBSOCKET_COMMAND_CHANNEL", "DB_PATH", "BTC_TOPIC_ID", "ETH_TOPIC_ID",
    "CHECK_FOR_TRADES", "VOLATILITY_THRESHOLD",
    "MAX_PREDICTION_AGE_SECONDS", "MAX_API_LATENCY_SECONDS",
]  # fmt: skip


@pytest.mark.parametrize("source", ["environment", "env file"])
@pytest.mark.parametrize("name", TAKEN_OVER)
def test_the_earlier_bots_names_are_taken_over_with_a_warning(place: Place, source: str, name: str) -> None:
    value, new_name = TAKEN_OVER[name]
    origin = place.set(source, name, value)
    loaded = load()
    assert row(loaded, new_name) == (value, origin)
    (warning,) = loaded.warnings
    assert warning.startswith(f"{name} ({origin})")
    assert new_name in warning


@pytest.mark.parametrize("source", ["environment", "env file"])
@pytest.mark.parametrize("name", EXPLAINED)
def test_what_the_earlier_bot_needed_and_this_one_does_not_is_explained(place: Place, source: str, name: str) -> None:
    origin = place.set(source, name, "True")
    loaded = load()
    (warning,) = loaded.warnings
    assert warning.startswith(f"{name} ({origin}) is no longer needed: ")
    assert dict(loaded.origins) == {}


def test_a_whole_env_file_of_the_earlier_bot_is_understood(place: Place) -> None:
    place.env_file(
        f"HL_SECRET_KEY={KEY}", f"HL_MASTER_ADDRESS={ADDRESS}", "HL_VAULT=", f"ALLORA_UPSHOT_KEY={CANARY}",
        "BOT_DEFAULT_MODE=STANDBY", "DEFAULT_ACTIVE_CRYPTOS=BTC:1,ETH:2",
        *(f"{name}={value}" for name, (value, _) in TAKEN_OVER.items() if name != "HL_MASTER_ADDRESS"),
        *(f"{name}=1" for name in EXPLAINED),
    )  # fmt: skip
    loaded = load()
    assert len(loaded.warnings) == len(TAKEN_OVER) + len(EXPLAINED)
    assert CANARY not in str(loaded.warnings)
    assert loaded.settings.trade.max_leverage == 3
    assert loaded.settings.default.active_cryptos == {"BTC": 1, "ETH": 2}


def test_a_new_name_wins_over_the_earlier_one_beside_it_and_a_source_over_those_below(place: Place) -> None:
    place.env_file("PRICE_GAP=0.3", "TRADE_PRICE_GAP_PCT=0.4")
    loaded = load()
    assert row(loaded, "TRADE_PRICE_GAP_PCT") == ("0.4", ".env")
    assert "is ignored" in loaded.warnings[0]
    place.environment(PRICE_GAP="0.5")
    assert row(load(), "TRADE_PRICE_GAP_PCT") == ("0.5", "environment")


def test_an_earlier_name_with_a_bad_value_is_an_error_under_its_new_name(place: Place) -> None:
    place.environment(MAX_LEVERAGE="100")
    (problem,) = problems()
    assert problem.startswith("TRADE_MAX_LEVERAGE: ")


NAMES = """
    MQTT_HOST MQTT_PORT MQTT_USERNAME MQTT_PASSWORD MQTT_TLS MQTT_TLS_CA MQTT_TLS_CERT MQTT_TLS_KEY MQTT_TRANSPORT
    MQTT_CLIENT_ID MQTT_BASE_TOPIC MQTT_PROTOCOL MQTT_SESSION_EXPIRY_S MQTT_CLEAR_RETAINED_COMMANDS
    EMBEDDED_BROKER_BIND
    BOT_NETWORK BOT_DEFAULT_MODE BOT_DATA_DIR BOT_DATABASE_URL BOT_HEARTBEAT_INTERVAL_S BOT_WAITING_ACTIVATION
    BOT_COMMAND_MAX_AGE_S BOT_ON_STOP BOT_STANDBY_EXITS BOT_RECONCILE_INTERVAL_S BOT_LOG_FORMAT BOT_LOG_LEVEL
    DEFAULT_ACTIVE_CRYPTOS
    HL_SECRET_KEY HL_ACCOUNT_ADDRESS HL_VAULT HL_BASE_URL HL_TIMEOUT_S
    ALLORA_API_KEY ALLORA_BASE_URL ALLORA_CHAIN ALLORA_TIMEOUT_S ALLORA_TOPICS
    TRADE_PRICE_GAP_PCT TRADE_AMOUNT_USD TRADE_MAX_LEVERAGE TRADE_TP_RATIO TRADE_SL_RATIO TRADE_EXIT_BUFFER_PCT
    TRADE_MAX_SLIPPAGE_PCT TRADE_MAX_OPEN_POSITIONS TRADE_MAX_EXPOSURE_USD TRADE_MAX_DAILY_LOSS_PCT
    TRADE_MAX_DRAWDOWN_PCT TRADE_COOLDOWN_S TRADE_STRATEGY TRADE_HARD_MAX_AMOUNT_USD TRADE_HARD_MAX_LEVERAGE
    TRADE_HARD_MAX_SLIPPAGE_PCT TRADE_HARD_MAX_OPEN_POSITIONS TRADE_HARD_MAX_EXPOSURE_USD
    TRADE_HARD_MAX_DAILY_LOSS_PCT TRADE_HARD_MAX_DRAWDOWN_PCT TRADE_MAX_SYMBOL_EXPOSURE_USD
    TRADE_MAX_ORDERS_PER_MINUTE TRADE_HARD_MAX_SYMBOL_EXPOSURE_USD TRADE_HARD_MAX_ORDERS_PER_MINUTE
    TRADE_HARD_MIN_COOLDOWN_S
    SIM_SEED SIM_SPEED SIM_PRICES SIM_SKILL SIM_BIND
"""
DEFAULTS = {
    "MQTT_HOST": "",
    "MQTT_BASE_TOPIC": "bot",
    "MQTT_PROTOCOL": "auto",
    "MQTT_SESSION_EXPIRY_S": "604800",
    "MQTT_CLEAR_RETAINED_COMMANDS": "True",
    "EMBEDDED_BROKER_BIND": "127.0.0.1:1883",
    "BOT_NETWORK": "sim",
    "BOT_DEFAULT_MODE": "STANDBY",
    "BOT_HEARTBEAT_INTERVAL_S": "5",
    "BOT_WAITING_ACTIVATION": "run",
    "TRADE_PRICE_GAP_PCT": "0.25",
    "TRADE_AMOUNT_USD": "50",
    "TRADE_COOLDOWN_S": "900",
    "TRADE_STRATEGY": "allora_gap",
    "SIM_SEED": "7",
    "SIM_SPEED": "1",
    "SIM_PRICES": "random",
    "SIM_SKILL": "0.6",
}


def test_every_setting_whose_name_is_fixed_is_shown_with_its_default() -> None:
    shown = {name: value for name, value, _ in load().rows()}
    assert set(NAMES.split()) <= set(shown)
    assert {name: shown[name] for name in DEFAULTS} == DEFAULTS


def test_every_secret_has_a_file() -> None:
    shown = {name for name, _, _ in load().rows()}
    secrets = {
        f"{group}_{key}".upper()
        for group, outer in Settings.model_fields.items()
        for key, inner in getattr(outer.annotation, "model_fields", {}).items()
        for kind in (inner.annotation, *get_args(inner.annotation))
        if isinstance(kind, type) and issubclass(kind, SecretStr)
    }
    assert secrets == {*SECRETS, "BOT_DATABASE_URL"}
    assert {f"{name}_FILE" for name in secrets} <= shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////var/lib/bot.sqlite3", "sqlite:////var/lib/bot.sqlite3"),
        ("postgresql+psycopg://bot@db/bot", "postgresql+psycopg://bot@db/bot"),
        (f"postgresql+psycopg://bot:{CANARY}@db:5432/bot", "postgresql+psycopg://bot:***@db:5432/bot"),
        (
            f"postgresql+psycopg://bot:{CANARY}@/@{CANARY}@db/bot?sslmode=require",
            "postgresql+psycopg://bot:***@db/bot?…",
        ),
        (f"postgresql+psycopg://bot@db/bot?password={CANARY}", "postgresql+psycopg://bot@db/bot?…"),
        (f"postgresql+psycopg:///bot?password={CANARY}", "postgresql+psycopg:///bot?…"),
    ],
)
def test_the_address_of_a_database_is_shown_without_its_password(url: str, shown: str) -> None:
    address = DatabaseUrl(url)
    assert str(address) == shown
    assert CANARY not in f"{address!r} {address}"
    assert address.holds_password is (CANARY in url or "?" in url)
    assert address.get_secret_value() == url


def test_the_address_of_a_database_may_be_in_a_file(place: Place) -> None:
    place.environment(BOT_DATABASE_URL_FILE=place.secret("sqlite:////elsewhere.db\n"))
    loaded = load()
    assert loaded.settings.bot.effective_database_url == "sqlite:////elsewhere.db"
    assert row(loaded, "BOT_DATABASE_URL") == ("sqlite:////elsewhere.db", "environment")
    place.environment(BOT_DATABASE_URL_FILE=place.secret(f"mysql://bot:{CANARY}@db/bot"))
    (problem,) = problems()
    assert CANARY not in problem


def test_the_key_of_a_certificate_that_others_can_read_is_told(place: Place, tmp_path: Path) -> None:
    key = tmp_path / "bot.key"
    key.write_text("a key")
    key.chmod(0o640)
    place.environment(MQTT_TLS_KEY=str(key))
    (warning,) = load().warnings
    assert f"{key} holds MQTT_TLS_KEY and can be read by others (mode 640): chmod 600 {key}." == warning


def test_a_file_with_the_address_of_a_database_is_no_secret_without_a_password(place: Place) -> None:
    place.env_file("BOT_DATABASE_URL=sqlite:////elsewhere.db")
    Path(".env").chmod(0o644)
    assert load().warnings == ()


@pytest.mark.parametrize(
    ("mode", "warns"), [(0o600, False), (0o640, True), (0o604, True), (0o644, True), (0o620, True)]
)
def test_secret_files_that_others_can_read_are_told(place: Place, tmp_path: Path, mode: int, *, warns: bool) -> None:
    secret = tmp_path / "secret"
    secret.write_text(CANARY)
    secret.chmod(mode)
    place.environment(MQTT_PASSWORD_FILE=str(secret))
    warnings = load().warnings
    assert any(f"chmod 600 {secret}" in warning and "MQTT_PASSWORD" in warning for warning in warnings) is warns
    assert not any(CANARY in warning for warning in warnings)


def test_an_env_file_with_a_secret_that_others_can_read_is_told(place: Place) -> None:
    place.env_file(f"ALLORA_API_KEY={CANARY}")
    Path(".env").chmod(0o644)
    (warning,) = load().warnings
    assert "ALLORA_API_KEY" in warning
    assert "chmod 600 .env" in warning
    Path(".env").chmod(0o600)
    assert load().warnings == ()


def test_who_signs_is_told_that_home_assistant_cannot(place: Place) -> None:
    secret = SECRETS["MQTT_COMMAND_SECRET"]
    place.environment(MQTT_COMMAND_SECRET=secret)
    (warning,) = load().warnings
    assert "MQTT_UNSIGNED_COMMANDS=reduce_risk" in warning
    for answer in (
        {"MQTT_UNSIGNED_COMMANDS": "refuse"},
        {"MQTT_UNSIGNED_COMMANDS": "reduce_risk"},
        {"MQTT_DISCOVERY": "false"},
    ):
        assert load({**answer}).warnings == ()


def test_an_empty_file_with_the_secret_of_commands_does_not_let_everybody_command(place: Place) -> None:
    place.environment(MQTT_COMMAND_SECRET_FILE=place.secret(" \n"))
    (problem,) = problems()
    assert problem.startswith("MQTT_COMMAND_SECRET_FILE: the file is empty; ")
    assert problem.endswith("(environment).")
