"""A bot to show."""

from allora_mqtt.discovery.subject import Subject
from allora_mqtt.protocol.runtime import HardLimits, RuntimeSettings, describe
from allora_mqtt.protocol.topics import Topics


def subject(*cryptos: str, base: str = "bot", limits: HardLimits | None = None, expiry_s: int | None = None) -> Subject:
    settings = describe(RuntimeSettings(), limits or HardLimits())
    return Subject(
        Topics(base), "1.2.3", "sim", 5, settings, ["allora_gap", "volatility"], cryptos, active_expiry_s=expiry_s
    )
