"""The way out, while the wire comes and goes."""

from allora_mqtt.control.outbox import Outbox
from allora_mqtt.protocol.messages import ErrorInfo
from tests.integration.control.bench import HandWire


async def test_events_that_were_on_the_way_when_the_line_was_cut_are_sent_again_in_their_order() -> None:
    outbox, wire = Outbox(), HandWire()
    outbox.attach(wire)
    wire.acknowledges = False
    for message in ("first", "second"):
        outbox.event("bot/event/order", ErrorInfo(code="INTERNAL", message=message))
    wire.is_up = False
    for sent in wire.sent:
        sent.future.cancel()
    outbox.lost()
    outbox.event("bot/event/order", ErrorInfo(code="INTERNAL", message="third"))
    wire.sent.clear()
    wire.is_up = True
    outbox.publish_everything()
    assert [sent.payload.decode().split('"')[-2] for sent in wire.sent] == ["first", "second", "third"]


async def test_after_the_last_word_a_topic_says_nothing_else() -> None:
    outbox, wire = Outbox(), HandWire()
    outbox.attach(wire)
    outbox.state("bot/availability", "online")
    await outbox.last_word("bot/availability", b"offline")
    assert outbox.is_echo("bot/availability", b"online")
    assert outbox.is_echo("bot/availability", b"offline")
    outbox.repeat("bot/availability")
    outbox.restore("bot/availability")
    assert set(wire.on("bot/availability")[1:]) == {b"offline"}


async def test_what_has_no_value_is_not_repeated() -> None:
    outbox, wire = Outbox(), HandWire()
    outbox.attach(wire)
    outbox.repeat("bot/availability")
    assert wire.sent == []
