"""What a person reads when the bot is up."""

import pytest

from allora_mqtt.protocol.commands import Mode
from allora_mqtt.settings import BotSettings, Network, Settings
from allora_mqtt.welcome import greeting


@pytest.mark.parametrize("own_broker", [True, False])
def test_what_the_embedded_broker_cannot_keep_is_said_where_it_is_used(*, own_broker: bool) -> None:
    said = greeting(Settings(), "127.0.0.1", 1883, Mode.STANDBY, "allora-mqtt", own_broker=own_broker)
    for word in ("end with this process", "MQTT 3.1.1 only", "MQTT_HOST", "docs/brokers.md"):
        assert (word in said) is own_broker
    assert all(len(line) <= 120 for line in said.splitlines())


@pytest.mark.parametrize("network", Network)
def test_what_is_at_stake_is_said(network: Network) -> None:
    settings = Settings.model_construct(
        bot=BotSettings(network=network), mqtt=Settings().mqtt, embedded=Settings().embedded
    )
    said = greeting(settings, "127.0.0.1", 1883, Mode.STANDBY, "allora-mqtt", own_broker=False)
    assert f"exchange  {network}: " in said
    assert ("REAL MONEY" in said) is (network is Network.MAINNET)
