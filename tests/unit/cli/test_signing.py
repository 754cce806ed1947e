from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from allora_mqtt.protocol.messages import Info
from allora_mqtt.settings import MqttSettings, Settings
from allora_mqtt_cli.doctor import signing


@pytest.mark.parametrize(
    ("bot", "unsigned", "here", "verdicts"),
    [
        ("", "refuse", None, []),
        ("", "refuse", "a" * 32, ["warning"]),
        ("**********", "refuse", "a" * 32, ["ok"]),
        ("**********", "reduce_risk", None, ["ok"]),
    ],
)
def test_doctor_says_whether_the_bot_looks_at_signatures(
    bot: str, unsigned: str, here: str | None, verdicts: list[str]
) -> None:
    info = Info(
        version="1",
        protocol_version=1,
        network="sim",
        account_address=None,
        capabilities=[],
        crypto_sets={},
        strategies=[],
        settings={"MQTT_COMMAND_SECRET": bot, "MQTT_UNSIGNED_COMMANDS": unsigned},
        instance_id="a",
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    secret = None if here is None else SecretStr(here)
    found = signing(info, Settings(mqtt=MqttSettings(command_secret=secret)))
    assert [each.verdict for each in found] == verdicts
    assert ("take risk away" in "".join(each.said for each in found)) is (unsigned == "reduce_risk")
