"""The embedded broker's memory for one client, against a model of what the standard says."""

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from allora_mqtt.transport.embedded_broker.limits import Limits
from allora_mqtt.transport.embedded_broker.mailbox import Mailbox, Publish, Release
from allora_mqtt.transport.embedded_broker.messages import Message

LIMITS = Limits(in_flight=3, queued_messages=12, queued_bytes=4000)


class Deliveries(RuleBasedStateMachine):
    """A client that takes, acknowledges late or never, and dies."""

    on_the_way: Bundle[Publish | Release | None] = Bundle("on_the_way")

    @initialize()
    def begin(self) -> None:
        self.mailbox = Mailbox(LIMITS)
        self.number = 0
        self.owed: list[tuple[int, int]] = []
        """Number and QoS of what must still arrive, in order; QoS 2 until PUBREC."""
        self.sent: dict[int, int] = {}
        """Numbers in flight on this connection, by packet id."""
        self.seen: set[int] = set()
        self.last = -1
        """The newest number sent on this connection."""

    @rule(qos=st.sampled_from([0, 1, 2]), size=st.sampled_from([1, 300, 1500]))
    def a_message_comes(self, qos: int, size: int) -> None:
        message = Message("t", str(self.number).rjust(size).encode(), qos)
        fits = len(self.mailbox) < LIMITS.queued_messages and self.mailbox.size + message.size <= LIMITS.queued_bytes
        assert self.mailbox.put(message) is fits
        if fits:
            self.owed.append((self.number, qos))
        self.number += 1

    @rule(target=on_the_way)
    def the_next_is_sent(self) -> Publish | Release | None:
        what = self.mailbox.next()
        if isinstance(what, Publish):
            number = int(what.message.payload)
            assert number > self.last
            self.last = number
            assert (number, what.message.qos) in self.owed
            assert what.again is (number in self.seen)
            self.seen.add(number)
            if what.packet_id is None:
                self.owed.remove((number, 0))
            else:
                assert what.packet_id not in self.sent
                self.sent[what.packet_id] = number
        return what

    @rule(what=consumes(on_the_way))
    def it_is_acknowledged(self, what: Publish | Release | None) -> None:
        if isinstance(what, Release):
            self.mailbox.completed(what.packet_id)
        elif (
            what is not None
            and what.packet_id is not None
            and self.sent.get(what.packet_id) == int(what.message.payload)
        ):
            self.owed.remove((int(what.message.payload), what.message.qos))
            del self.sent[what.packet_id]
            if what.message.qos == 1:
                self.mailbox.acknowledged(what.packet_id)
            else:
                self.mailbox.received(what.packet_id)
                self.mailbox.acknowledged(what.packet_id)

    @rule(packet_id=st.integers(0, 0xFFFF))
    def nonsense_is_acknowledged(self, packet_id: int) -> None:
        if packet_id not in self.mailbox._in_flight:
            self.mailbox.acknowledged(packet_id)
            self.mailbox.received(packet_id)
            self.mailbox.completed(packet_id)

    @rule()
    def the_connection_dies(self) -> None:
        self.mailbox.interrupted()
        self.sent.clear()
        self.last = -1
        self.owed = [(number, qos) for number, qos in self.owed if qos]

    @precondition(lambda self: self.mailbox.size > 0)
    @rule()
    def everything_arrives_in_the_end(self) -> None:
        self.the_connection_dies()
        while (what := self.the_next_is_sent()) is not None:
            self.it_is_acknowledged(what)
            if isinstance(what, Publish) and what.message.qos == 2:
                assert what.packet_id is not None
                self.mailbox.completed(what.packet_id)
        assert self.owed == []
        assert (len(self.mailbox), self.mailbox.size) == (0, 0)

    @invariant()
    def it_is_bounded(self) -> None:
        assert 0 <= self.mailbox.size <= LIMITS.queued_bytes
        assert len(self.mailbox) <= LIMITS.queued_messages
        assert len(self.sent) <= LIMITS.in_flight


TestDeliveries = Deliveries.TestCase


def test_packet_ids_go_round_and_leave_out_those_in_flight() -> None:
    mailbox = Mailbox(Limits(in_flight=2))
    ids = []
    for number in range(70_000):
        mailbox.put(Message("t", b"", 1))
        what = mailbox.next()
        assert isinstance(what, Publish)
        assert what.packet_id is not None
        ids.append(what.packet_id)
        if number:
            # The first one is never acknowledged.
            mailbox.acknowledged(what.packet_id)
    assert (min(ids), max(ids)) == (1, 65_535)
    assert ids.count(1) == 1
