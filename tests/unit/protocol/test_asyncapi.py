"""The AsyncAPI document says what the contract says; `make docs` has AsyncAPI's own parser read it."""

import json
from typing import Any

import pytest

from allora_mqtt.protocol import examples
from allora_mqtt.protocol.asyncapi import describe
from allora_mqtt.protocol.reading import read
from allora_mqtt.protocol.schema import COMMANDS, MESSAGES, WORDS, Delivery, Schemas
from allora_mqtt.protocol.topics import Event, LogLevel, Topics
from tests.unit.protocol.json_schema import misfits

DOCUMENT = describe()
TOPICS = Topics("bot")


def placed(topic: str) -> str:
    """Return a real topic for one with parameters."""
    return "bot/" + topic.format(symbol="BTC", key="price_gap_pct", name="mode", level="warning")


def resolved(reference: dict[str, str]) -> Any:
    found: Any = DOCUMENT
    for part in reference["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


@pytest.mark.parametrize("topic", COMMANDS)
def test_every_example_is_a_command(topic: str) -> None:
    address = TOPICS.address(placed(topic))
    assert address is not None
    payloads = [bare.encode() for bare in examples.BARE[topic]]
    payloads += [json.dumps(content).encode() for content in examples.JSON[topic]]
    assert payloads
    for payload in payloads:
        parsed = read(address, payload)
        assert parsed.error is None, payload
        assert type(parsed.body) is COMMANDS[topic] or topic == "config/{key}/set"


@pytest.mark.parametrize("topic", COMMANDS)
def test_every_example_of_the_document_fits_its_schema(topic: str) -> None:
    name = topic.translate(str.maketrans("/", "_", "{}"))
    message = DOCUMENT["components"]["messages"][f"{name}_json"]
    definitions = dict(Schemas.under("#/$defs").definitions)
    assert message["examples"]
    for example in message["examples"]:
        assert list(misfits(example["payload"], Schemas.under("#/$defs").commands[topic], definitions)) == []


def test_every_topic_is_a_channel_with_one_operation() -> None:
    addresses = {channel["address"].removeprefix("{base}/") for channel in DOCUMENT["channels"].values()}
    assert addresses == {*COMMANDS, *MESSAGES, *WORDS}
    used = [resolved(operation["channel"])["address"] for operation in DOCUMENT["operations"].values()]
    assert sorted(used) == sorted(f"{{base}}/{topic}" for topic in addresses)
    received = {
        resolved(operation["channel"])["address"].removeprefix("{base}/")
        for operation in DOCUMENT["operations"].values()
        if operation["action"] == "receive"
    }
    assert received == set(COMMANDS)


def test_every_state_topic_is_retained_and_nothing_else() -> None:
    topics = [*MESSAGES, *WORDS]
    retained = {placed(topic) for topic in topics if Delivery.of(topic).is_retained}
    assert retained == {*TOPICS.state_topics(), TOPICS.crypto("BTC")}
    assert {placed(topic) for topic in topics} - retained == {
        TOPICS.heartbeat,
        TOPICS.response("mode"),
        *(TOPICS.event(event) for event in Event),
        TOPICS.log(LogLevel.WARNING),
    }


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(DOCUMENT)
    references = {part.partition('"')[0] for part in text.split('"$ref": "')[1:]}
    assert references
    for reference in references:
        assert resolved({"$ref": reference}) is not None
