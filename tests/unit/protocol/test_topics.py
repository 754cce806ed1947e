import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allora_mqtt.protocol.topics import BASE_PATTERN, Address, Event, Slot, Topics

BASES = ["bot", "bots/alice", "Home-1/floor_2/bot", "a", "0"]

words = st.text(st.characters(codec="utf-8", exclude_characters="/+#\0"), max_size=12)
bases = st.from_regex(BASE_PATTERN, fullmatch=True).filter(lambda base: len(base) < 40)
addresses = st.one_of(
    st.sampled_from([Address(Slot.MODE), Address(Slot.CRYPTOS), Address(Slot.CONFIG)]),
    st.builds(Address, st.sampled_from([Slot.CRYPTO, Slot.CONFIG_KEY, Slot.REQUEST]), words),
)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(
    ("tail", "address"),
    [
        ("mode/set", Address(Slot.MODE)),
        ("cryptos/set", Address(Slot.CRYPTOS)),
        ("cryptos/BTC/set", Address(Slot.CRYPTO, "BTC")),
        ("cryptos/kPEPE/set", Address(Slot.CRYPTO, "kPEPE")),
        ("cryptos/set/set", Address(Slot.CRYPTO, "set")),
        ("config/set", Address(Slot.CONFIG)),
        ("config/price_gap_pct/set", Address(Slot.CONFIG_KEY, "price_gap_pct")),
        ("request/flatten", Address(Slot.REQUEST, "flatten")),
        ("request/nonsense", Address(Slot.REQUEST, "nonsense")),
    ],
)
def test_each_command_topic_has_its_address_and_the_address_leads_back(base: str, tail: str, address: Address) -> None:
    topics = Topics(base)
    assert topics.address(f"{base}/{tail}") == address
    assert topics.command(address) == f"{base}/{tail}"


@settings(max_examples=30, deadline=None)
@given(base=bases, address=addresses)
def test_every_address_leads_to_a_topic_and_back(base: str, address: Address) -> None:
    topics = Topics(base)
    assert topics.address(topics.command(address)) == address


@pytest.mark.parametrize("base", ["bot", "bots/alice"])
@pytest.mark.parametrize(
    "topic",
    [
        "",
        "/",
        "mode/set",
        "other/mode/set",
        "{base}",
        "{base}/",
        "/{base}/mode/set",
        "x{base}/mode/set",
        "x/{base}/mode/set",
        "{base}x/mode/set",
        "{base}/mode",
        "{base}/mode/",
        "{base}/mode/set/",
        "{base}/mode/set/again",
        "{base}/mode/ACTIVE/set",
        "{base}/Mode/set",
        "{base}/cryptos/BTC",
        "{base}/cryptos/BTC/ETH/set",
        "{base}/config/a/b/set",
        "{base}/request",
        "{base}/request/#",
        "{base}/cryptos/+/set",
        "{base}/config/max\0leverage/set",
        "{base}/request/close/BTC",
        "{base}/response/mode",
        "{base}/{base}/mode/set",
        "{base}/status",
    ],
)
def test_what_is_no_command_topic_has_no_address(base: str, topic: str) -> None:
    assert Topics(base).address(topic.replace("{base}", base)) is None


@pytest.mark.parametrize(
    "base",
    ["", "/", "bot/", "/bot", "a//b", "a b", "bot ", "bot\n", "a.b", "$SYS", "$share/x", "bot/+", "#", "bot/#", "büro",
     "a\x00b"],
)  # fmt: skip
def test_a_base_that_some_broker_cannot_route_is_refused(base: str) -> None:
    with pytest.raises(ValueError, match="base topic"):
        Topics(base)


@pytest.mark.parametrize("base", BASES)
def test_a_base_of_plain_levels_is_taken(base: str) -> None:
    assert Topics(base).mode == f"{base}/mode"


def matches(topic_filter: str, topic: str) -> bool:
    levels, wanted = topic.split("/"), topic_filter.split("/")
    return len(levels) == len(wanted) and all(want in {"+", level} for want, level in zip(wanted, levels, strict=True))


@settings(max_examples=30, deadline=None)
@given(address=addresses)
def test_the_subscriptions_cover_every_command_topic_once_by_kind(address: Address) -> None:
    topics = Topics("bots/alice")
    topic = topics.command(address)
    assert any(matches(one, topic) for one in topics.command_filters()) is address.is_desired_state
    assert matches(topics.request_filter, topic) is not address.is_desired_state


def test_state_goes_where_the_contract_says() -> None:
    topics = Topics("bots/alice")
    names = ["availability", "mode", "status", "info", "config", "cryptos", "catalog", "account", "positions", "health",
             "last_command", "heartbeat"]  # fmt: skip
    for name in names:
        assert getattr(topics, name) == f"bots/alice/{name}"
    assert topics.crypto("BTC") == "bots/alice/cryptos/BTC"
    assert {topics.event(event) for event in Event} == {
        f"bots/alice/event/{kind}"
        for kind in ("mode_changed", "crypto_changed", "signal", "order", "fill", "position_closed", "breaker_opened",
                     "breaker_closed", "command")
    }  # fmt: skip


def test_answers_go_to_the_name_of_the_command() -> None:
    assert Topics("bot").response("cancel_orders") == "bot/response/cancel_orders"


@pytest.mark.parametrize("name", ["", "a/b", "#", "+", "Flatten", "x" * 65, "mode\n", "naïve"])
def test_an_answer_to_a_strange_name_goes_to_a_topic_every_broker_takes(name: str) -> None:
    assert Topics("bot").response(name) == "bot/response/unknown"
