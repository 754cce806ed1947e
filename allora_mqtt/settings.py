"""Every setting with its range and default, by group; `allora_mqtt.configuration` reads them."""

import re
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

import platformdirs
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from allora_mqtt.database_url import POSTGRESQL, SQLITE, in_schema, is_postgresql
from allora_mqtt.protocol.commands import Symbol, TopicId
from allora_mqtt.protocol.errors import Rejected
from allora_mqtt.protocol.runtime import HardLimits, RuntimeSettings, hard_limit_name
from allora_mqtt.protocol.signed import Keys
from allora_mqtt.protocol.topics import BASE_PATTERN, SYMBOL_PATTERN, Topics

MAINNET_URL: Final = "https://api.hyperliquid.xyz"
"""By this exact text the SDK knows that it signs for mainnet."""
TESTNET_URL: Final = "https://api.hyperliquid-testnet.xyz"
_REAL_EXCHANGES: Final = {"hyperliquid.xyz": "mainnet", "hyperliquid-testnet.xyz": "testnet"}


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
    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def _why(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else "it is not text"


def _from_file(values: object, name: str) -> object:
    """Fill a secret from the file that `<name>_file` points to."""
    if not isinstance(values, dict) or values.get(f"{name}_file") is None:
        return values
    if values.get(name) is not None:
        raise ValueError(f"set either {name} or {name}_file, not both")
    path = Path(str(values[f"{name}_file"]))
    try:
        # A file that is there and empty is a secret that is not set, as a variable is.
        return {**values, name: path.read_text(encoding="utf-8").strip() or None}
    except (OSError, UnicodeDecodeError) as error:
        # A name of no folder is not repeated: people put the secret itself there.
        shown = f"{name}_file {path}" if path.is_absolute() else f"the file that {name}_file names"
        raise ValueError(f"{shown} cannot be read: {_why(error)}") from None


class DatabaseUrl(SecretStr):
    """The address of a database, which is shown without the password in it."""

    @property
    def holds_password(self) -> bool:
        """Whether somebody who reads it can open the database with it."""
        return self._display() != self.get_secret_value()

    def _display(self) -> str:
        engine, _, rest = self.get_secret_value().partition("://")
        address, mark, query = rest.partition("?")
        login, at, place = address.rpartition("@")
        user, colon, _ = login.partition(":")
        # A driver takes passwords from the query too, under more names than can be known here.
        hidden = "?…" if query and engine != "sqlite" else f"{mark}{query}"
        return f"{engine}://{user}{':***' if colon else ''}{at}{place}{hidden}"


def _is_base_url(text: str) -> str:
    """Accept the address of a server, and nothing behind it."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or text != f"{parts.scheme}://{parts.netloc}":
        raise ValueError(f"it is the address of a server without a path and without a final slash, as {MAINNET_URL}")
    if "@" in parts.netloc:
        raise ValueError("a user name or password in an address is not supported")
    return text


def _real_exchange(url: str) -> str | None:
    """Return which of HyperLiquid's own networks a URL leads to, however it is written."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    return next((name for domain, name in _REAL_EXCHANGES.items() if f".{host}".endswith(f".{domain}")), None)


WEIGHT_PER_MINUTE: Final = 1200
"""What HyperLiquid gives an IP address."""
PREDICTIONS_PER_MINUTE: Final = 120
"""Over all topics. Allora names no number; this is far below what makes it answer 429."""
MAX_PREDICTION_AGE_S: Final = 1800.0
"""By default; Allora's own predictions are minutes old."""


class Network(StrEnum):
    """Which exchange the bot trades on."""

    SIM = "sim"
    PAPER = "paper"
    TESTNET = "testnet"
    MAINNET = "mainnet"


class DefaultMode(StrEnum):
    """In which mode the bot starts."""

    STANDBY = "STANDBY"
    LAST = "LAST"
    ACTIVE = "ACTIVE"


class MqttSettings(_Group):
    """`MQTT_…`: the broker, and how the bot presents itself to it."""

    host: str | None = None
    """The broker's name or address; unset: the bot starts a broker of its own."""
    port: Annotated[int | None, Field(ge=1, le=65535)] = None
    """The broker's port; unset: 1883, or 8883 with TLS."""
    username: str | None = None
    """The login at the broker."""
    password: SecretStr | None = None
    """Its password."""
    password_file: Path | None = None
    """The file that holds the password."""
    tls: bool = False
    """Whether the connection is encrypted."""
    tls_ca: Path | None = None
    """The certificate authority that signed the broker's certificate; unset: those of the system."""
    tls_cert: Path | None = None
    """The bot's own certificate, for brokers that ask for one."""
    tls_key: Path | None = None
    """The key of `MQTT_TLS_CERT`."""
    transport: Literal["tcp", "websockets"] = "tcp"
    """Plain MQTT, or MQTT inside a websocket."""
    client_id: Annotated[str | None, Field(min_length=1, max_length=128)] = None
    """Names the session in which the broker keeps commands; unset: `allora-mqtt-<base topic>`."""
    base_topic: str = "bot"
    """What every topic of this bot begins with; may hold slashes, as `bots/alice`."""
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    """The version of MQTT; `auto` takes 5 where the broker speaks it."""
    session_expiry_s: Annotated[int, Field(ge=60, le=0xFFFFFFFE)] = 604_800
    """How long the broker keeps commands for a bot that is away; MQTT 5 only."""
    clear_retained_commands: bool = True
    """Whether a retained command is removed from the broker once it has run."""
    command_secret: SecretStr | None = None
    """Who may command: a secret, or several as `alice:secret,node-red:other`; unset: signatures are not looked at."""
    command_secret_file: Path | None = None
    """The file that holds the secrets."""
    command_window_s: Annotated[int, Field(ge=60, le=31_536_000)] = 604_800
    """How old a signed command may be, unless it takes risk away; as long as the broker keeps what waits."""
    unsigned_commands: Literal["refuse", "reduce_risk"] = "refuse"
    """What becomes of unsigned commands where there is a secret; `reduce_risk` lets STANDBY, OFF, flatten … through."""
    discovery: bool = True
    """Whether Home Assistant is told of the bot."""
    discovery_prefix: str = "homeassistant"
    """What Home Assistant's discovery topics begin with."""
    discovery_cryptos: Annotated[tuple[str, ...], NoDecode] = ("popular",)
    """Coins that Home Assistant always shows, by symbol or by the name of a set; active ones are shown anyway."""
    discovery_active_expiry_s: Annotated[int | None, Field(ge=1, le=86_400)] = None
    """An ACTIVE that Home Assistant sends is not run when it arrives later than this; unset: it waits for the bot."""

    @model_validator(mode="before")
    @classmethod
    def _read_files(cls, values: object) -> object:
        return _from_file(_from_file(values, "password"), "command_secret")

    @field_validator("command_secret")
    @classmethod
    def _are_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            Keys.parse(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _is_not_open_by_mistake(self) -> Self:
        if self.command_secret_file is not None and self.command_secret is None:
            # An empty file is a secret that is not set elsewhere; here it would let anybody command.
            raise ValueError("command_secret_file: the file is empty; put the secret there, or unset it")
        return self

    @field_validator("base_topic")
    @classmethod
    def _routable(cls, value: str) -> str:
        return Topics(value).base

    @field_validator("discovery_cryptos", mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        return _parts(value) if isinstance(value, str) else value

    @field_validator("discovery_prefix")
    @classmethod
    def _is_prefix(cls, value: str) -> str:
        if not BASE_PATTERN.fullmatch(value):
            raise ValueError("it has letters, digits, '-' and '_', in levels split by '/', as homeassistant")
        return value

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.discovery_prefix == self.base_topic:
            raise ValueError(
                "MQTT_DISCOVERY_PREFIX and MQTT_BASE_TOPIC are the same; their `status` topics would be too"
            )
        return self

    @property
    def effective_port(self) -> int:
        """The port: 1883, or 8883 with TLS, where none is set."""
        return self.port or (8883 if self.tls else 1883)

    @property
    def command_keys(self) -> Keys | None:
        """Whose commands are taken, and what commands from here are signed with; None where nothing is signed."""
        return None if self.command_secret is None else Keys.parse(self.command_secret.get_secret_value())

    @property
    def effective_client_id(self) -> str:
        """The client id: one per base topic where none is set."""
        return self.client_id or f"allora-mqtt-{self.base_topic.replace('/', '-')}"


class EmbeddedSettings(_Group):
    """`EMBEDDED_BROKER_…`: the broker that the bot starts when no `MQTT_HOST` is set."""

    broker_bind: str = "127.0.0.1:1883"
    """Where the bot's own broker listens when `MQTT_HOST` is unset; elsewhere than on loopback only for users."""
    broker_ws_bind: str | None = None
    """Where it takes MQTT over websockets too, for dashboards in a browser; only for users."""
    broker_users: SecretStr | None = None
    """Who may log in, as `name:password,name:password`; each may do everything. Unset: everybody on this machine."""
    broker_users_file: Path | None = None
    """The file that holds the users."""

    @model_validator(mode="before")
    @classmethod
    def _read_files(cls, values: object) -> object:
        return _from_file(values, "broker_users")

    @field_validator("broker_bind", "broker_ws_bind")
    @classmethod
    def _somewhere(cls, value: str | None) -> str | None:
        return None if value is None else _is_bind(value)

    @field_validator("broker_users")
    @classmethod
    def _each_with_a_password(cls, value: SecretStr | None) -> SecretStr | None:
        for part in [] if value is None else _parts(value.get_secret_value()):
            name, colon, password = part.partition(":")
            if not (name and colon and password):
                raise ValueError("each user is NAME:PASSWORD, and commas are between them")
        return value

    @model_validator(mode="after")
    def _nobody_unknown(self) -> Self:
        if self.users:
            return self
        if self.address[0] not in {"127.0.0.1", "localhost"}:
            raise ValueError(
                "broker_bind: without EMBEDDED_BROKER_USERS the bot's own broker listens on 127.0.0.1 only; "
                "set users, or use mosquitto"
            )
        if self.broker_ws_bind is not None:
            raise ValueError(
                "broker_ws_bind: any page in a browser on this machine could command the bot; "
                "set EMBEDDED_BROKER_USERS too"
            )
        return self

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on."""
        return parse_bind(self.broker_bind)

    @property
    def ws_address(self) -> tuple[str, int] | None:
        """Host and port for websockets, if any."""
        return None if self.broker_ws_bind is None else parse_bind(self.broker_ws_bind)

    @property
    def users(self) -> dict[str, str]:
        """The passwords by user; empty where everybody on this machine may log in."""
        parts = [] if self.broker_users is None else _parts(self.broker_users.get_secret_value())
        return {name: password for name, _, password in (part.partition(":") for part in parts)}


class BotSettings(_Group):
    """`BOT_…`: how the bot behaves."""

    network: Network = Network.SIM
    """Which exchange is traded on; mainnet is real money."""
    default_mode: DefaultMode = DefaultMode.STANDBY
    """The mode after a start; `LAST` is the one that was commanded last."""
    data_dir: Path = Field(default_factory=lambda: platformdirs.user_data_path("allora-mqtt"))
    """The folder of the database and the spool; each network and account needs its own."""
    database_url: DatabaseUrl | None = None
    """Where else the database is, `sqlite:///…` or `postgresql+psycopg://…`; unset: `bot.sqlite3` in `BOT_DATA_DIR`."""
    database_url_file: Path | None = None
    """The file that holds the address, for one with a password in it."""
    pair: bool = False
    """Whether another bot with the same database and base topic may stand by and take over, or this one does."""
    lease_s: Annotated[float, Field(ge=1, le=60)] = 5
    """How long a bot on PostgreSQL that is no longer heard of may still act, and nobody else may."""
    heartbeat_interval_s: Annotated[float, Field(ge=0.1, le=3600)] = 5
    """The pause between two heartbeats."""
    waiting_activation: Literal["run", "fresh", "reject"] = "run"
    """What becomes of an ACTIVE that waited in the broker; `fresh` asks for a recent `issued_at`."""
    command_max_age_s: Annotated[float, Field(ge=1)] = 60
    """How old an `issued_at` may be when `BOT_WAITING_ACTIVATION` is `fresh`."""
    on_stop: Literal["keep", "flatten"] = "keep"
    """What STOPPED does with open positions."""
    standby_exits: Literal["manage", "hold"] = "manage"
    """In STANDBY, whether positions are closed by the exit rules too, or only by their stops and targets."""
    adopt_positions: bool = False
    """Whether positions of active coins that somebody else opened become the bot's own."""
    quote_interval_s: Annotated[float, Field(ge=0.2, le=60)] = 3
    """How often all prices are asked for: one request of weight 20 out of 1200 a minute."""
    reconcile_interval_s: Annotated[float, Field(ge=1, le=3600)] = 30
    """How often positions, orders and fills are compared with the exchange."""
    crypto_sets: dict[str, list[str]] = {
        "popular": ["BTC", "ETH", "SOL", "AVAX"],
        "top_market_cap": ["BTC", "ETH", "SOL", "AVAX"],
        "defi": ["ETH", "UNI", "LINK", "AAVE"],
        "layer1": ["BTC", "ETH", "SOL", "ADA", "ATOM", "DOT"],
        "starter": ["BTC", "ETH", "SOL"],
    }
    """Named sets of coins for the action `activate_set` and for `MQTT_DISCOVERY_CRYPTOS`."""
    retention_questions_hours: Annotated[int, Field(ge=0, le=87_600)] = 1
    """How long commands that only asked stay in the journal; 0 here and below: for ever."""
    retention_commands_days: Annotated[int, Field(ge=0, le=36_500)] = 90
    """How long the journal keeps what commands carried; their ids stay for ever."""
    retention_signals_days: Annotated[int, Field(ge=0, le=36_500)] = 30
    """How long signals stay that led to nothing."""
    retention_equity_days: Annotated[int, Field(ge=0, le=36_500)] = 30
    """How long every point of the equity curve stays."""
    retention_events_days: Annotated[int, Field(ge=0, le=36_500)] = 365
    """How long the audit trail stays."""
    retention_predictions_days: Annotated[int, Field(ge=0, le=36_500)] = 365
    """How long predictions stay, and what came of them."""
    log_format: Literal["console", "json"] = "console"
    """Lines for people, or JSON for machines."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important lines that are still written."""
    log_mqtt: Literal["off", "debug", "info", "warning", "error"] = "warning"
    """The lowest level of the log that is published on `<base>/log/<level>`, at most 60 lines a minute."""
    metrics_bind: str | None = None
    """Where metrics for Prometheus, `/healthz` and `/readyz` are served: HOST:PORT, or a port of this machine alone."""

    @field_validator("metrics_bind", mode="before")
    @classmethod
    def _on_loopback(cls, value: object) -> object:
        if value is None or value == "":
            return None
        text = str(value)
        return _is_bind(f"127.0.0.1:{text}" if text.isdecimal() else text)

    @model_validator(mode="before")
    @classmethod
    def _read_files(cls, values: object) -> object:
        return _from_file(values, "database_url")

    @field_validator("database_url")
    @classmethod
    def _known_engine(cls, value: DatabaseUrl | None) -> DatabaseUrl | None:
        if value is not None and not value.get_secret_value().startswith((SQLITE, POSTGRESQL)):
            raise ValueError(f"only {SQLITE}… and {POSTGRESQL}… are supported")
        return value

    @property
    def effective_database_url(self) -> str:
        """The database: `bot.sqlite3` in the data folder where none is set."""
        given = self.database_url
        return f"{SQLITE}{self.data_dir / 'bot.sqlite3'}" if given is None else given.get_secret_value()


class DefaultSettings(_Group):
    """`DEFAULT_…`: what holds at a first start, when the store knows nothing."""

    active_cryptos: Annotated[dict[Symbol, TopicId], NoDecode] = {}
    """The active coins with their Allora topics, as `BTC:14,ETH:13`."""

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
    """The private key that signs orders: an agent wallet's, in hexadecimal."""
    secret_key_file: Path | None = None
    """The file that holds the key."""
    account_address: Annotated[str | None, Field(pattern=r"^0x[0-9a-fA-F]{40}$")] = None
    """The account that the agent trades for; unset: the key's own."""
    vault: Annotated[str | None, Field(pattern=r"^0x[0-9a-fA-F]{40}$")] = None
    """A vault that the account leads, or one of its sub-accounts, to trade with that money."""
    base_url: Annotated[str, AfterValidator(_is_base_url)] | None = None
    """Where the exchange is: a simulator for `sim`, another upstream for `paper`, a testnet elsewhere for `testnet`."""
    mainnet_confirm: Annotated[str | None, Field(pattern=r"^0x[0-9a-fA-F]{40}$")] = None
    """The second lock of mainnet: the address of the account that is traded on."""
    timeout_s: Annotated[float, Field(ge=0.5, le=60)] = 5
    """How long one request to the exchange may take."""
    weight_per_minute: Annotated[int, Field(ge=200, le=1_000_000)] = WEIGHT_PER_MINUTE
    """Request weight that the bot may use up in a minute: less where other programs share the IP address."""

    @property
    def traded_account(self) -> str | None:
        """The account whose money is at stake, as far as it is named: the vault, or the account."""
        return self.vault or self.account_address

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
    """The key for Allora's API; its earlier name `ALLORA_UPSHOT_KEY` works too."""
    api_key_file: Path | None = None
    """The file that holds the key."""
    base_url: str | None = None
    """Where Allora's API is; unset: Allora's own, or the simulator's on `sim`."""
    chain: Literal["allora-mainnet-1", "allora-testnet-1"] = "allora-mainnet-1"
    """The Allora network whose topics are used."""
    timeout_s: Annotated[float, Field(ge=0.5, le=60)] = 5
    """How long one request to Allora may take."""
    max_age_s: Annotated[float, Field(ge=10, le=86_400)] = MAX_PREDICTION_AGE_S
    """The oldest a prediction may be to be traded on; its topic's horizon bounds it further."""
    requests_per_minute: Annotated[int, Field(ge=6, le=60_000)] = PREDICTIONS_PER_MINUTE
    """For predictions, over all topics; with many coins each is asked for less often."""
    chain_url: str | None = None
    """The chain's REST, asked where the API fails or there is no key; unset: without the API there are no entries."""
    topics: str = ""
    """Topics whose names cannot be read: `BTC:14:price:8h,…`."""

    @model_validator(mode="before")
    @classmethod
    def _read_files(cls, values: object) -> object:
        return _from_file(values, "api_key")

    @field_validator("api_key")
    @classmethod
    def _is_one_line(cls, value: SecretStr | None) -> SecretStr | None:
        key = "" if value is None else value.get_secret_value().strip()
        if not (key.isascii() and key.isprintable()):
            raise ValueError("it holds characters that no key has; copy it again")
        return value

    @field_validator("base_url", "chain_url")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None:
            _check_endpoint(value)
        return value


class ReviewerSettings(_Group):
    """`REVIEWER_…`: language models that are asked before an entry and can only veto it. Lists are set with commas."""

    urls: Annotated[tuple[str, ...], NoDecode] = ()
    """OpenAI-compatible endpoints, up to and without `/chat/completions`; none: nobody is asked."""
    models: Annotated[tuple[str, ...], NoDecode] = ()
    """The model at each endpoint, or one for all."""
    api_keys: SecretStr | None = None
    """The key of each endpoint, or one for all."""
    api_keys_file: Path | None = None
    """The file that holds the keys."""
    quorum: Annotated[int | None, Field(ge=1)] = None
    """How many must approve; unset: all."""
    timeout_s: Annotated[float, Field(ge=0.5, le=300)] = 20
    """How long one answer may take; later is a veto."""
    min_confidence: Annotated[Decimal, Field(ge=0, le=100)] = Decimal(70)
    """An approval that is less sure than this is none."""
    max_risk: Annotated[Decimal, Field(ge=0, le=10)] = Decimal(4)
    """An approval that sees more risk than this, of 10, is none."""

    @model_validator(mode="before")
    @classmethod
    def _read_files(cls, values: object) -> object:
        return _from_file(values, "api_keys")

    @field_validator("urls", "models", mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        return _parts(value) if isinstance(value, str) else value

    @field_validator("urls")
    @classmethod
    def _askable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for url in value:
            _check_endpoint(url)
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.urls:
            return self
        for name, count in (("REVIEWER_MODELS", len(self.models)), ("REVIEWER_API_KEYS", len(self.effective_keys))):
            if count not in {1, len(self.urls)}:
                raise ValueError(f"{name} has {count} and REVIEWER_URLS {len(self.urls)}; set one for each, or one")
        is_clear = any(
            parts.scheme == "http" and parts.hostname not in {"127.0.0.1", "localhost", "::1"}
            for parts in map(urlsplit, self.urls)
        )
        if is_clear and self.api_keys is not None:
            raise ValueError("a key leaves this machine over https:// only; change REVIEWER_URLS")
        if self.quorum is not None and self.quorum > len(self.urls):
            raise ValueError(f"REVIEWER_QUORUM is {self.quorum}, and there are {len(self.urls)} in REVIEWER_URLS")
        return self

    @property
    def effective_keys(self) -> tuple[str | None, ...]:
        """The keys; one None where none is set."""
        return (None,) if self.api_keys is None else _parts(self.api_keys.get_secret_value())


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in re.split(r"[,\n]", text) if part.strip())


def _check_endpoint(url: str) -> None:
    """Refuse an address that would show a secret, or send one in the clear.

    Raises:
        ValueError: with what to do; the address is not repeated.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("an endpoint is an http:// or https:// address")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("an endpoint's address holds no user, password or query: it is shown in `info`")


class TradeSettings(RuntimeSettings):
    """`TRADE_…`: the runtime settings of a first start, and the hard limits that no command can cross."""

    hard_max_amount_usd: Decimal | None = None
    """The highest `TRADE_AMOUNT_USD` that can be set over MQTT."""
    hard_max_leverage: int | None = None
    """The highest `TRADE_MAX_LEVERAGE` that can be set over MQTT."""
    hard_max_slippage_pct: Decimal | None = None
    """The highest `TRADE_MAX_SLIPPAGE_PCT` that can be set over MQTT."""
    hard_max_open_positions: int | None = None
    """The highest `TRADE_MAX_OPEN_POSITIONS` that can be set over MQTT."""
    hard_max_exposure_usd: Decimal | None = None
    """The highest `TRADE_MAX_EXPOSURE_USD` that can be set over MQTT."""
    hard_max_symbol_exposure_usd: Decimal | None = None
    """The highest `TRADE_MAX_SYMBOL_EXPOSURE_USD` that can be set over MQTT."""
    hard_max_orders_per_minute: int | None = None
    """The highest `TRADE_MAX_ORDERS_PER_MINUTE` that can be set over MQTT."""
    hard_max_daily_loss_pct: Decimal | None = None
    """The highest `TRADE_MAX_DAILY_LOSS_PCT` that can be set over MQTT."""
    hard_max_drawdown_pct: Decimal | None = None
    """The highest `TRADE_MAX_DRAWDOWN_PCT` that can be set over MQTT."""
    hard_min_cooldown_s: int | None = None
    """The lowest `TRADE_COOLDOWN_S` that can be set over MQTT."""

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
    """The same seed gives the same market."""
    speed: Annotated[float, Field(gt=0, le=100_000)] = 1
    """Seconds of market time in a second."""
    prices: Annotated[str, Field(pattern=r"^(random|replay:.+)$")] = "random"
    """Made-up prices, or `replay:FILE.csv`."""
    skill: Annotated[float, Field(ge=0, le=1)] = 0.6
    """How good the simulated predictions are: 0 is noise, 1 knows the future."""
    bind: Annotated[str, AfterValidator(_is_bind)] = "127.0.0.1:0"
    """Where the simulator listens; port 0 is any free one."""
    epoch_s: Annotated[float, Field(ge=1, le=86_400)] = 15
    """How often a simulated topic has a new prediction."""
    follow_interval_s: Annotated[float, Field(ge=1, le=60)] = 3
    """How often `paper` asks HyperLiquid for prices: one request of weight 20 out of 1200 a minute."""


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
    reviewer: ReviewerSettings = ReviewerSettings()
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
        problem = (
            self._missing()
            or self._too_many_requests()
            or self._wrong_address()
            or self._mainnet_lock()
            or self._unknown_sets()
            or self._lonely_pair()
        )
        if problem is not None:
            raise ValueError(problem)
        return self

    @property
    def database_url(self) -> str:
        """The database, and in PostgreSQL this bot's part of it."""
        return in_schema(self.bot.effective_database_url, self.mqtt.base_topic)

    def _lonely_pair(self) -> str | None:
        """Tell what a pair lacks to have everything in common that the one that takes over must find."""
        if not self.bot.pair:
            return None
        if not is_postgresql(self.bot.effective_database_url):
            return f"BOT_PAIR needs a database that both bots reach: set BOT_DATABASE_URL={POSTGRESQL}…"
        if self.mqtt.host is None:
            return "BOT_PAIR needs a broker that outlives a bot: set MQTT_HOST"
        if self.bot.network is Network.PAPER:
            return "BOT_PAIR is not possible on paper: its exchange lives and dies with the bot"
        if self.bot.network is Network.SIM and (self.hl.base_url is None or self.hl.secret_key is None):
            return "BOT_PAIR on sim needs an exchange and an account in common: set HL_BASE_URL and HL_SECRET_KEY"
        return None

    def _unknown_sets(self) -> str | None:
        """Tell of a name in `MQTT_DISCOVERY_CRYPTOS` that is neither a set nor a symbol."""
        sets = self.bot.crypto_sets
        for name in self.mqtt.discovery_cryptos:
            if name not in sets and not SYMBOL_PATTERN.fullmatch(name):
                return f"MQTT_DISCOVERY_CRYPTOS: {name!r} is no symbol and no set; the sets are {', '.join(sets)}"
        return None

    def _too_many_requests(self) -> str | None:
        """Tell when the bot would ask for more than the exchange gives; a simulator may give more."""
        if self.bot.network is Network.SIM or self.hl.weight_per_minute <= WEIGHT_PER_MINUTE:
            return None
        return f"HL_WEIGHT_PER_MINUTE is above {WEIGHT_PER_MINUTE}, which is all that HyperLiquid gives an IP address"

    def _missing(self) -> str | None:
        network = self.bot.network
        needed = []
        if network in {Network.TESTNET, Network.MAINNET} and self.hl.secret_key is None:
            needed.append("HL_SECRET_KEY")
        # The chain's own REST wants no key.
        if network is not Network.SIM and self.allora.api_key is None and self.allora.chain_url is None:
            needed.append("ALLORA_API_KEY")
        return f"BOT_NETWORK={network} needs {' and '.join(needed)}" if needed else None

    def _wrong_address(self) -> str | None:
        """Tell why `HL_BASE_URL` does not belong to the network: no network may be reached by another one's name."""
        network, url = self.bot.network, self.hl.base_url
        if url is None or network is Network.PAPER:
            return None
        if network is Network.MAINNET:
            message = f"BOT_NETWORK=mainnet trades at {MAINNET_URL} and nowhere else; remove HL_BASE_URL"
            return None if url == MAINNET_URL else message
        real = _real_exchange(url)
        if real is None or real == network:
            return None
        return (
            f"HL_BASE_URL={url} is HyperLiquid's {real} and BOT_NETWORK is {network}: set BOT_NETWORK={real} for that"
        )

    def _mainnet_lock(self) -> str | None:
        """Tell why mainnet stays locked; whether a key's own account was meant is seen when the key is read."""
        if self.bot.network is not Network.MAINNET:
            return None
        if self.bot.default_mode is DefaultMode.ACTIVE:
            return (
                "BOT_DEFAULT_MODE=ACTIVE is not possible on mainnet, where nothing is traded before somebody says so; "
                "set LAST to go on after a restart in the mode that was commanded last"
            )
        account, confirmed = self.hl.traded_account, self.hl.mainnet_confirm
        if confirmed is None or (account is not None and account.lower() != confirmed.lower()):
            return mainnet_locked(account, confirmed)
        return None


def mainnet_locked(account: str | None, confirmed: str | None) -> str:
    """Return the sentence that says why mainnet is locked and how it is unlocked.

    Args:
        account: the account that would be traded on, where it is known.
        confirmed: what `HL_MAINNET_CONFIRM` says.
    """
    wanted = account or "0x… (the address of the account that the bot trades on)"
    found = "is not set" if confirmed is None else f"is {confirmed}"
    return (
        f"BOT_NETWORK=mainnet trades with real money and is locked, because HL_MAINNET_CONFIRM {found}. "
        f"If that is what you want, set HL_MAINNET_CONFIRM={wanted}"
    )
