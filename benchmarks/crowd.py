"""Many clients that are to the broker what idle bots are, in one process: their link, their topics, their heartbeat."""

import argparse
import asyncio
import json
from datetime import UTC, datetime
from typing import Final

from allora_mqtt.control.wire import Packet
from allora_mqtt.protocol.topics import Topics
from allora_mqtt.settings import MqttSettings
from allora_mqtt.transport.connection import Endpoint, Subscription, Will
from allora_mqtt.transport.mqtt import MqttLink

_HEARTBEAT_S: Final = 5.0


class _Member:
    """A bot without anything behind its link: answers `ping`, and says now and then that it lives."""

    def __init__(self, number: int, port: int) -> None:
        self._topics = Topics(f"bots/{number}")
        filters = (*self._topics.command_filters(), self._topics.request_filter, self._topics.heartbeat)
        settings = MqttSettings(base_topic=self._topics.base, protocol="5")
        will = Will(self._topics.availability, b"offline")
        subscriptions = [Subscription(each) for each in filters]
        self.link = MqttLink(settings, Endpoint("127.0.0.1", port), subscriptions, will, self)

    def on_session(self, *, resumed: bool) -> None:
        """Nothing waits here."""

    def on_subscribed(self) -> None:
        """Publish a state as retained topics."""
        self.link.publish(self._topics.availability, b"online", retain=True)
        for topic in self._topics.state_topics():
            self.link.publish(topic, b'{"of":"the crowd"}', retain=True)

    def on_packet(self, packet: Packet) -> None:
        """Answer, without a journal."""
        packet.acknowledge()
        if packet.topic == f"{self._topics.base}/request/ping":
            self.link.publish(f"{self._topics.base}/response/ping", packet.payload)

    def on_taken_over(self) -> None:
        """Nobody has the same client id."""

    def on_lost(self, reason: str) -> None:
        """The link comes back by itself."""

    async def live(self) -> None:
        """Beat until cancelled."""
        beat = 0
        while True:
            await asyncio.sleep(_HEARTBEAT_S)
            beat += 1
            now = datetime.now(UTC).isoformat()
            if self.link.is_up:
                self.link.publish(self._topics.heartbeat, json.dumps({"seq": beat, "at": now}).encode(), qos=0)


async def _serve(port: int, count: int) -> None:
    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            member = _Member(number, port)
            tasks.create_task(member.link.run())
            tasks.create_task(member.live())


def main() -> None:
    """Be there until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    words = parser.parse_args()
    asyncio.run(_serve(words.port, words.count))


if __name__ == "__main__":
    main()
