"""Every setting with its range and default, by group; `allora_mqtt.configuration` reads them."""

import re
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

import platformdirs
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from allora_mqtt.protocol.commands import Symbol, TopicId
from allora_mqtt.protocol.errors import Rejected
from allora_mqtt.protocol.runtime import HardLimits, RuntimeSettings, hard_limit_name
from allora_mqtt.protocol.topics import SYMBOL_PATTERN, Topics


def parse_bind(text: str) -> tuple[str, int]:
    """Split `host:port`.

    Raises:
        ValueError: the text is not of that form.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 - the highest TCP port
        raise ValueError(f"{text!r} is not HOST:PORT, for example 127.0.0.1:1883")
    return host, int(port)


def _is_bind(text: str) -> str:
    parse_bind(text)
    return text


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)


def _from_file(values: object, name: str) -> object:
    """Fill a secret from the file that `<name>_file` points to."""
    if not isinstance(values, dict) or values.get(f"{name}_file") is None:
        return values
    if values.get(name) is not None:
        raise ValueError(f"set either {name} or {name}_file, not both")
    path = Path(str(values[f"{name}_file"]))
    try:
        return {**values, name: path.read_text(encoding="utf-8").strip()}
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{name}_file {path} cannot be read: {error}") from error


class Network(StrEnum):
    """Which exchange the bot trades on."""

    SIM = "sim"
    TESTNET = "testnet"


class DefaultMode(StrEnum):
    """In which mode the bot starts."""

    STANDBY = "STANDBY"
    LAST = "LAST"
    ACTIVE = "ACTIVE"


class MqttSettings(_Group):
    """`MQTT_…`: the broker, and how the bot presents itself to it."""

    host: str | None = None
    """Unset: the bot starts a broker of its own."""
    port: Annotated[int | None, Field(ge=1, le=65535)] = None
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    tls: bool = False
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    transport: Literal["tcp", "websockets"] = "tcp"
    client_id: Annotated[str | None, Field(min_length=1, max_length=128)] = None
    base_topic: str = "bot"
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    session_expiry_s: Annotated[int, Field(ge=60, le=0xFFFFFFFE)] = 604_800
    clear_retained_commands: bool = True

    @model_validator(mode="before")
    @classmethod
    def _read_files(cls, values: object) -> object:
        return _from_file(values, "password")

    @field_validator("base_topic")
    @classmethod
    def _routable(cls, value: str) -> str:
        return Topics(value).base

    @property
    def effective_port(self) -> int:
        """The port: 1883, or 8883 with TLS, where none is set."""
        return self.port or (8883 if self.tls else 1883)

    @property
    def effective_client_id(self) -> str:
        """The client id: one per base topic where none is set."""
        return self.client_id or f"allora-mqtt-{self.base_topic.replace('/', '-')}"


class EmbeddedSettings(_Group):
    """`EMBEDDED_BROKER_…`: the broker that the bot starts when no `MQTT_HOST` is set."""

    broker_bind: str = "127.0.0.1:1883"

    @field_validator("broker_bind")
    @classmethod
    def _loopback(cls, value: str) -> str:
        host, _ = parse_bind(value)
        if host not in {"127.0.0.1", "localhost"}:
            raise ValueError("the embedded broker knows no passwords and listens on 127.0.0.1 only; use mosquitto")
        return value

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on."""
        return parse_bind(self.broker_bind)


class BotSettings(_Group):
    """`BOT_…`: how the bot behaves."""

    network: Network = Network.SIM
    default_mode: DefaultMode = DefaultMode.STANDBY
    data_dir: Path = Field(default_factory=lambda: platformdirs.user_data_path("allora-mqtt"))
    database_url: str | None = None
    heartbeat_interval_s: Annotated[float, Field(ge=0.1, le=3600)] = 5
    waiting_activation: Literal["run", "fresh", "reject"] = "run"
    command_max_age_s: Annotated[float, Field(ge=1)] = 60
    on_stop: Literal["keep", "flatten"] = "keep"
    standby_exits: Literal["manage", "hold"] = "manage"
    quote_interval_s: Annotated[float, Field(ge=0.2, le=60)] = 3
    """How often all prices are asked for: one request of weight 20 out of 1200 a minute."""
    reconcile_interval_s: Annotated[float, Field(ge=1, le=3600)] = 30
    crypto_sets: dict[str, list[str]] = {
        "popular": ["BTC", "ETH", "SOL", "AVAX"],
        "top_market_cap": ["BTC", "ETH", "SOL", "AVAX"],
        "defi": ["ETH", "UNI", "LINK", "AAVE"],
        "layer1": ["BTC", "ETH", "SOL", "ADA", "ATOM", "DOT"],
        "starter": ["BTC", "ETH", "SOL"],
    }
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("database_url")
    @classmethod
    def _known_engine(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("sqlite:///"):
            raise ValueError("only sqlite:///… is supported")
        return value

    @property
    def effective_database_url(self) -> str:
        """The database: `bot.sqlite3` in the data folder where none is set."""
        return self.database_url or f"sqlite:///{self.data_dir / 'bot.sqlite3'}"


class DefaultSettings(_Group):
    """`DEFAULT_…`: what holds at a first start, when the store knows nothing."""

    active_cryptos: Annotated[dict[Symbol, TopicId], NoDecode] = {}

    @field_validator("active_cryptos", mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [part.strip() for part in value.split(",") if part.strip()]
        for pair in pairs:
            if not re.fullmatch(rf"{SYMBOL_PATTERN.pattern}:[0-9]+", pair):
                raise ValueError(f"{pair!r} is not SYMBOL:TOPIC_ID, for example BTC:14,ETH:13")
        topics = dict(pair.split(":") for pair in pairs)
        if len(topics) != len(pairs):
            raise ValueError(f"a symbol is there twice in {value!r}")
        return topics


class HyperliquidSettings(_Group):
    """`HL_…`: the account on HyperLiquid. The key should be an agent wallet's: it can trade and not withdraw."""

    secret_key: SecretStr | None = None
    secret_key_file: Path | None = None
    account_address: Annotated[str | None, Field(pattern=r"^0x[0-9a-fA-F]{40}$")] = None
    vault: Annotated[str | None, Field(pattern=r"^0x[0-9a-fA-F]{40}$")] = None
    base_url: str | None = None
    timeout_s: Annotated[float, Field(ge=0.5, le=60)] = 5

    @model_validator(mode="before")
    @classmethod
    def _read_files(cls, values: object) -> object:
        return _from_file(values, "secret_key")

    @field_validator("secret_key")
    @classmethod
    def _is_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"(0x)?[0-9a-fA-F]{64}", value.get_secret_value()):
            raise ValueError("a private key has 64 hexadecimal digits")
        return value


class AlloraSettings(_Group):
    """`ALLORA_…`: where predictions come from."""

    api_key: SecretStr | None = None
    api_key_file: Path | None = None
    base_url: str | None = None
    chain: Literal["allora-mainnet-1", "allora-testnet-1"] = "allora-mainnet-1"
    timeout_s: Annotated[float, Field(ge=0.5, le=60)] = 5
    topics: str = ""
    """Topics whose names cannot be read: `BTC:14:price:8h,…`."""

    @model_validator(mode="before")
    @classmethod
    def _read_files(cls, values: object) -> object:
        return _from_file(values, "api_key")


class TradeSettings(RuntimeSettings):
    """`TRADE_…`: the runtime settings of a first start, and the hard limits that no command can cross."""

    hard_max_amount_usd: Decimal | None = None
    hard_max_leverage: int | None = None
    hard_max_slippage_pct: Decimal | None = None
    hard_max_open_positions: int | None = None
    hard_max_exposure_usd: Decimal | None = None
    hard_max_symbol_exposure_usd: Decimal | None = None
    hard_max_orders_per_minute: int | None = None
    hard_max_daily_loss_pct: Decimal | None = None
    hard_max_drawdown_pct: Decimal | None = None
    hard_min_cooldown_s: int | None = None

    @property
    def runtime(self) -> RuntimeSettings:
        """The runtime settings alone."""
        return RuntimeSettings.model_validate(self.model_dump(include=set(RuntimeSettings.model_fields)))

    @property
    def hard_limits(self) -> HardLimits:
        """The hard limits alone."""
        return HardLimits.model_validate(
            {key: getattr(self, hard_limit_name(key).lower().removeprefix("trade_")) for key in HardLimits.model_fields}
        )


class SimulatorSettings(_Group):
    """`SIM_…`: the simulated exchange that `BOT_NETWORK=sim` starts."""

    seed: int = 7
    speed: Annotated[float, Field(gt=0, le=100_000)] = 1
    prices: Annotated[str, Field(pattern=r"^(random|replay:.+)$")] = "random"
    skill: Annotated[float, Field(ge=0, le=1)] = 0.6
    bind: Annotated[str, AfterValidator(_is_bind)] = "127.0.0.1:0"
    epoch_s: Annotated[float, Field(ge=1, le=86_400)] = 15
    """How often a simulated topic has a new prediction."""


class Settings(BaseSettings):
    """Everything that can be configured, by group."""

    model_config = SettingsConfigDict(
        env_nested_delimiter="_",
        env_nested_max_split=1,
        env_file_encoding="utf-8",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    mqtt: MqttSettings = MqttSettings()
    embedded: EmbeddedSettings = EmbeddedSettings()
    bot: BotSettings = Field(default_factory=BotSettings)
    default: DefaultSettings = DefaultSettings()
    hl: HyperliquidSettings = HyperliquidSettings()
    allora: AlloraSettings = AlloraSettings()
    trade: TradeSettings = TradeSettings()
    sim: SimulatorSettings = SimulatorSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values only from what `load` hands over, where each one's origin is known."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        try:
            self.trade.hard_limits.check(self.trade.runtime)
        except Rejected as error:
            raise ValueError(error.message) from error
        if self.bot.network is Network.TESTNET:
            missing = [
                name
                for name, value in (("HL_SECRET_KEY", self.hl.secret_key), ("ALLORA_API_KEY", self.allora.api_key))
                if value is None
            ]
            if missing:
                raise ValueError(f"BOT_NETWORK=testnet needs {' and '.join(missing)}")
        return self
