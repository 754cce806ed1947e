import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from allora_mqtt.protocol.runtime import HardLimits, RuntimeSettings, hard_limit_name, is_floor
from allora_mqtt.settings import (
    AlloraSettings,
    BotSettings,
    DefaultSettings,
    EmbeddedSettings,
    HyperliquidSettings,
    MqttSettings,
    Network,
    ReviewerSettings,
    Settings,
    SimulatorSettings,
    TradeSettings,
    parse_bind,
)

KEY = "1f" * 32


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:1883", ("127.0.0.1", 1883)), ("localhost:0", ("localhost", 0)), ("[::1]:65535", ("[::1]", 65535))],
)
def test_a_bind_is_a_host_and_a_port(text: str, address: tuple[str, int]) -> None:
    assert parse_bind(text) == address


@pytest.mark.parametrize("text", ["", "1883", ":1883", "localhost", "localhost:", "localhost:x", "localhost:-1",
                                  "localhost:65536", "localhost:1.5", "localhost: 1883"])  # fmt: skip
def test_what_is_no_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_bind(text)
    with pytest.raises(ValidationError, match="HOST:PORT"):
        SimulatorSettings(bind=text)


@pytest.mark.parametrize("bind", ["127.0.0.1:1883", "localhost:0"])
def test_the_embedded_broker_listens_on_loopback(bind: str) -> None:
    assert EmbeddedSettings(broker_bind=bind).address == parse_bind(bind)


@pytest.mark.parametrize("bind", ["0.0.0.0:1883", "192.168.1.2:1883", "[::]:1883", "[::1]:1883", "example.com:1883",
                                  "127.0.0.1.example.com:1883", "1883"])  # fmt: skip
def test_the_embedded_broker_listens_nowhere_else(bind: str) -> None:
    with pytest.raises(ValidationError):
        EmbeddedSettings(broker_bind=bind)


def test_the_embedded_broker_lets_users_in_from_elsewhere_and_from_browsers() -> None:
    settings = EmbeddedSettings(
        broker_bind="0.0.0.0:1883", broker_ws_bind="0.0.0.0:9001", broker_users=SecretStr("alice:a:b, node-red:c")
    )
    assert settings.users == {"alice": "a:b", "node-red": "c"}
    assert settings.ws_address == parse_bind("0.0.0.0:9001")
    assert "a:b" not in repr(settings)


@pytest.mark.parametrize("users", ["alice", "alice:", ":secret", "alice:a,bob"])
def test_a_user_without_a_name_or_a_password_is_none(users: str) -> None:
    with pytest.raises(ValidationError, match="NAME:PASSWORD") as raised:
        EmbeddedSettings(broker_users=SecretStr(users))
    assert "secret" not in str(raised.value)


def test_browsers_are_let_in_with_a_password_only() -> None:
    with pytest.raises(ValidationError, match="EMBEDDED_BROKER_USERS"):
        EmbeddedSettings(broker_ws_bind="127.0.0.1:9001")


@pytest.mark.parametrize(
    ("given", "port"), [({}, 1883), ({"tls": True}, 8883), ({"port": 1}, 1), ({"port": 1, "tls": True}, 1)]
)
def test_the_port_follows_tls_where_none_is_set(given: dict[str, Any], port: int) -> None:
    assert MqttSettings(**given).effective_port == port


def test_the_client_id_is_one_per_base_topic() -> None:
    assert MqttSettings().effective_client_id == "allora-mqtt-bot"
    assert MqttSettings(base_topic="bots/alice").effective_client_id == "allora-mqtt-bots-alice"
    assert MqttSettings(base_topic="bots/alice", client_id="mine").effective_client_id == "mine"


@pytest.mark.parametrize("base", ["", "bot/", "a b", "bot/#", "a.b"])
def test_a_base_topic_that_cannot_be_routed_is_refused(base: str) -> None:
    with pytest.raises(ValidationError, match="base topic"):
        MqttSettings(base_topic=base)


@pytest.mark.parametrize("prefix", ["", "home assistant", "ha/#", "$ha", "ha.lan"])
def test_a_discovery_prefix_that_cannot_be_routed_is_refused(prefix: str) -> None:
    with pytest.raises(ValidationError, match="homeassistant"):
        MqttSettings(discovery_prefix=prefix)


def test_the_bots_status_and_home_assistants_are_not_one_topic() -> None:
    with pytest.raises(ValidationError, match="MQTT_BASE_TOPIC"):
        MqttSettings(discovery_prefix="house", base_topic="house")


def test_the_coins_for_home_assistant_are_symbols_and_sets() -> None:
    chosen = MqttSettings.model_validate({"discovery_cryptos": "popular, DOGE"})
    assert chosen.discovery_cryptos == ("popular", "DOGE")
    assert Settings(mqtt=chosen).mqtt.discovery_cryptos == ("popular", "DOGE")
    assert MqttSettings.model_validate({"discovery_cryptos": ""}).discovery_cryptos == ()
    with pytest.raises(ValidationError, match="no symbol and no set; the sets are popular"):
        Settings(mqtt=MqttSettings(discovery_cryptos=("my_coins",)))


def test_the_database_lies_in_the_data_folder_unless_said_otherwise(tmp_path: Path) -> None:
    assert BotSettings(data_dir=tmp_path).effective_database_url == f"sqlite:///{tmp_path}/bot.sqlite3"
    assert BotSettings.model_validate({"database_url": "sqlite:////x.db"}).effective_database_url == "sqlite:////x.db"


@pytest.mark.parametrize(
    ("given", "bind"),
    [
        (None, None),
        ("", None),
        ("9464", "127.0.0.1:9464"),
        (9464, "127.0.0.1:9464"),
        ("0.0.0.0:9464", "0.0.0.0:9464"),
        ("[::1]:9464", "[::1]:9464"),
    ],
)
def test_metrics_are_served_to_this_machine_unless_said_otherwise(given: object, bind: str | None) -> None:
    assert BotSettings.model_validate({"metrics_bind": given}).metrics_bind == bind


@pytest.mark.parametrize("given", ["metrics", "host:", ":9464", "host:70000", "99999", True])
def test_a_place_for_metrics_that_cannot_be_meant_is_refused(given: object) -> None:
    with pytest.raises(ValidationError, match="HOST:PORT"):
        BotSettings.model_validate({"metrics_bind": given})


_PAIR = {
    "database_url": "postgresql+psycopg://bot@db/bots",
    "pair": True,
}
_SHARED = {"base_url": "http://127.0.0.1:1", "secret_key": KEY}


@pytest.mark.parametrize(
    ("lacks", "bot", "mqtt", "hl"),
    [
        ("BOT_DATABASE_URL=postgresql", {"database_url": None}, {"host": "broker"}, _SHARED),
        ("MQTT_HOST", {}, {}, _SHARED),
        ("HL_BASE_URL and HL_SECRET_KEY", {}, {"host": "broker"}, {"secret_key": _SHARED["secret_key"]}),
        ("HL_BASE_URL and HL_SECRET_KEY", {}, {"host": "broker"}, {"base_url": _SHARED["base_url"]}),
    ],
)
def test_a_pair_has_everything_in_common(
    lacks: str, bot: dict[str, Any], mqtt: dict[str, Any], hl: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError, match=lacks):
        Settings(bot=BotSettings(**{**_PAIR, **bot}), mqtt=MqttSettings(**mqtt), hl=HyperliquidSettings(**hl))
    whole = Settings(
        bot=BotSettings(**_PAIR),
        mqtt=MqttSettings(host="broker", base_topic="bots/a"),
        hl=HyperliquidSettings(**_SHARED),
    )
    assert whole.database_url.endswith("?options=-csearch_path%3D%22allora_bots%2Fa%22")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        (" , ", {}),
        ("BTC:14", {"BTC": 14}),
        ("BTC:1,ETH:2", {"BTC": 1, "ETH": 2}),
        (" BTC:14 ,\tkPEPE:3, ", {"BTC": 14, "kPEPE": 3}),
    ],
)
def test_the_first_active_set_is_read_from_pairs(text: str, expected: dict[str, int]) -> None:
    assert DefaultSettings.model_validate({"active_cryptos": text}).active_cryptos == expected


def test_the_first_active_set_may_be_a_table() -> None:
    table = {"active_cryptos": {"BTC": 14, "ETH": 13}}
    assert DefaultSettings.model_validate(table).active_cryptos == {"BTC": 14, "ETH": 13}


@pytest.mark.parametrize(
    "value",
    ["BTC", "BTC:", ":14", "BTC:x", "BTC:1;ETH:2", "BTC:1:2", "BTC : 1", "B-C:1", "BTC:-1", "BTC:0", "BTC:1,BTC:2",
     {"BTC": 0}, {"BTC": True}, {"B C": 1}, ["BTC:14"], 14],
)  # fmt: skip
def test_a_first_active_set_that_cannot_be_meant_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        DefaultSettings.model_validate({"active_cryptos": value})


@pytest.mark.parametrize("key", [KEY, "0x" + KEY, KEY.upper()])
def test_a_private_key_has_64_hexadecimal_digits(key: str) -> None:
    settings = HyperliquidSettings.model_validate({"secret_key": key})
    assert settings.secret_key is not None
    assert settings.secret_key.get_secret_value() == key


@pytest.mark.parametrize("key", ["", KEY[:-1], KEY + "0", "0X" + KEY, "g" * 64, KEY + "\n"])
def test_what_is_no_private_key_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(ValidationError) as caught:
        HyperliquidSettings.model_validate({"secret_key": key})
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize("field", ["account_address", "vault"])
@pytest.mark.parametrize("address", ["0x12", "ab" * 20, "0x" + "g" * 40, "0x" + "ab" * 20 + "\n"])
def test_an_address_has_40_hexadecimal_digits(field: str, address: str) -> None:
    HyperliquidSettings.model_validate({field: "0x" + "aB" * 20})
    with pytest.raises(ValidationError):
        HyperliquidSettings.model_validate({field: address})


def test_trade_settings_hold_the_runtime_settings_and_the_hard_limits() -> None:
    trade = TradeSettings(max_leverage=3, hard_max_leverage=4, hard_max_exposure_usd=Decimal(1000))
    assert trade.runtime == RuntimeSettings(max_leverage=3)
    assert type(trade.runtime) is RuntimeSettings
    assert trade.hard_limits == HardLimits(max_leverage=4, max_exposure_usd=Decimal(1000))


@pytest.mark.parametrize("key", HardLimits.model_fields)
def test_a_setting_above_its_hard_limit_is_refused_at_the_start(key: str) -> None:
    name = hard_limit_name(key).lower().removeprefix("trade_")
    present = getattr(RuntimeSettings(), key)
    Settings.model_validate({"trade": {name: present}})
    crossed = present / 4 if isinstance(present, Decimal) else present - 1
    if is_floor(key):
        crossed = present + 1
    with pytest.raises(ValidationError, match="the hard limit"):
        Settings.model_validate({"trade": {name: crossed}})


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "HL_SECRET_KEY and ALLORA_API_KEY"),
        ({"hl": {"secret_key": KEY}}, "needs ALLORA_API_KEY"),
        ({"allora": {"api_key": "k"}}, "needs HL_SECRET_KEY"),
    ],
)
def test_testnet_needs_its_keys(given: dict[str, Any], missing: str) -> None:
    with pytest.raises(ValidationError, match=missing):
        Settings.model_validate({"bot": {"network": "testnet"}, **given})


def test_testnet_starts_with_its_keys_and_the_simulator_without() -> None:
    given = {"bot": {"network": "testnet"}, "hl": {"secret_key": KEY}, "allora": {"api_key": "k"}}
    assert Settings.model_validate(given).bot.network is Network.TESTNET
    assert Settings.model_validate({}).bot.network is Network.SIM


def test_settings_are_taken_from_what_is_handed_over_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("MQTT_HOST=file")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MQTT_HOST", "environment")
    monkeypatch.setenv("ALLORA_API_KEY", "environment")
    settings = Settings()
    assert settings.mqtt.host is None
    assert settings.allora.api_key is None


@pytest.mark.parametrize("group", [MqttSettings, EmbeddedSettings, BotSettings, DefaultSettings, HyperliquidSettings,
                                   AlloraSettings, TradeSettings, SimulatorSettings, ReviewerSettings])  # fmt: skip
def test_settings_are_frozen_and_refuse_what_they_do_not_know(group: type[Any]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        group(nonsense=1)
    settings = group()
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings, next(iter(group.model_fields)), None)


@pytest.mark.parametrize("name", ["popular", "top_market_cap", "defi", "layer1", "starter"])
def test_the_named_sets_are_there(name: str) -> None:
    sets = BotSettings().crypto_sets
    assert len(sets[name]) >= 3
    assert sets["popular"] == ["BTC", "ETH", "SOL", "AVAX"]


def test_nobody_is_asked_unless_an_endpoint_is_set() -> None:
    reviewer = ReviewerSettings()
    assert (reviewer.urls, reviewer.models, reviewer.effective_keys, reviewer.quorum) == ((), (), (None,), None)


def test_reviewers_are_set_by_lists() -> None:
    reviewer = ReviewerSettings.model_validate(
        {"urls": "https://a.example/v1, http://127.0.0.1:11434/v1", "models": "one", "api_keys": "k1,\nk2", "quorum": 2}
    )
    assert reviewer.urls == ("https://a.example/v1", "http://127.0.0.1:11434/v1")
    assert (reviewer.models, reviewer.effective_keys, reviewer.quorum) == (("one",), ("k1", "k2"), 2)


def test_the_keys_of_reviewers_may_lie_in_a_file_and_are_never_shown(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("sk-canary-1\nsk-canary-2\n")
    given = {"urls": "https://a/v1,https://b/v1", "models": "m", "api_keys_file": str(tmp_path / "keys")}
    reviewer = ReviewerSettings.model_validate(given)
    assert reviewer.effective_keys == ("sk-canary-1", "sk-canary-2")
    assert "canary" not in f"{reviewer!r} {reviewer} {dict(reviewer)}"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"models": ""}, "REVIEWER_MODELS has 0 and REVIEWER_URLS 2"),
        ({"models": "a,b,c"}, "REVIEWER_MODELS has 3"),
        ({"api_keys": "a,b,c"}, "REVIEWER_API_KEYS has 3"),
        ({"api_keys": ","}, "REVIEWER_API_KEYS has 0"),
        ({"quorum": 3}, "REVIEWER_QUORUM is 3, and there are 2"),
        ({"quorum": 0}, "greater than or equal to 1"),
        ({"urls": "a.example/v1"}, "http:// or https://"),
        ({"urls": "ftp://a.example/v1"}, "http:// or https://"),
        ({"urls": "https://user:sk-canary@a.example/v1"}, "no user, password or query"),
        ({"urls": "https://a.example/v1?key=sk-canary"}, "no user, password or query"),
        ({"urls": "http://a.example/v1", "api_keys": "sk-canary"}, "over https:// only"),
        ({"timeout_s": 0.1}, "greater than or equal to 0.5"),
        ({"max_risk": 11}, "less than or equal to 10"),
    ],
)
def test_reviewers_that_cannot_be_asked_safely_are_refused(changes: dict[str, Any], why: str) -> None:
    given = {"urls": "https://a.example/v1,https://b.example/v1", "models": "m", **changes}
    with pytest.raises(ValidationError, match=re.escape(why)) as caught:
        ReviewerSettings.model_validate(given)
    assert "canary" not in str(caught.value)


def test_without_a_key_a_model_in_the_same_house_may_be_asked_in_the_clear() -> None:
    given = {"urls": "http://nas.local:11434/v1", "models": "m"}
    assert ReviewerSettings.model_validate(given).urls == ("http://nas.local:11434/v1",)


def test_a_prediction_may_be_half_an_hour_old_unless_said_otherwise() -> None:
    assert AlloraSettings().max_age_s == 1800
    for value in (9, 86_401):
        with pytest.raises(ValidationError):
            AlloraSettings(max_age_s=value)


def test_the_chain_is_off_and_takes_the_keys_place_where_it_is_set() -> None:
    assert AlloraSettings().chain_url is None
    given = {"bot": {"network": "testnet"}, "hl": {"secret_key": KEY}}
    chain = {"allora": {"chain_url": "https://allora-api.testnet.allora.network"}}
    assert Settings.model_validate(given | chain).allora.api_key is None
    with pytest.raises(ValidationError, match="no user, password or query"):
        AlloraSettings(chain_url="https://me:secret@chain.example")
