"""How many retained messages the embedded broker keeps."""

from allora_mqtt.transport.embedded_broker.limits import Limits
from allora_mqtt.transport.embedded_broker.messages import Message
from allora_mqtt.transport.embedded_broker.retained import Retained


def kept(retained: Retained) -> dict[str, bytes]:
    return {message.topic: message.payload for message in retained.matching("#")}


def put(retained: Retained, topic: str, payload: bytes) -> None:
    retained.put(Message(topic, payload, 1, retain=True))


def test_replacing_and_clearing_give_the_bytes_back() -> None:
    retained = Retained(Limits(retained_bytes=5000))
    for number in range(100):
        put(retained, "a", str(number).encode() * 500)
    for _ in range(100):
        put(retained, "b", bytes(1000))
        put(retained, "b", b"")
    put(retained, "c", bytes(1000))
    assert kept(retained) == {"a": b"99" * 500, "c": bytes(1000)}


def test_what_does_not_fit_is_not_kept_and_the_old_one_is_not_left_in_its_place() -> None:
    retained = Retained(Limits(retained_bytes=5000))
    put(retained, "a", b"old")
    put(retained, "b", bytes(3000))
    put(retained, "a", bytes(3000))
    assert kept(retained) == {"b": bytes(3000)}
    put(retained, "b", b"")
    put(retained, "a", bytes(3000))
    assert kept(retained) == {"a": bytes(3000)}
